/**
 * Errors that a Redis 7.0 under test cannot be made to say: of other versions and flavours, of other
 * networks, of Sentinel and Cluster clients. What it can say is in test/integration/conditions.test.ts.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { conditionsPage } from '../../src/conditions-page.ts';
import {
  type ConditionName,
  conditionAnchor,
  conditions,
  describeCondition,
} from '../../src/redis/condition-catalogue.ts';
import { conditionOf } from '../../src/redis/conditions.ts';

const SHA = '9c5ad2a14b8e5b1a6a3bdd7a0e8f8b4e3a3c1d2f';

function coded(code: string, message = code): Error {
  return Object.assign(new Error(message), { code });
}

describe('conditionOf', () => {
  it.each<[string, ConditionName]>([
    // Redis 6 wraps the reply that a script met.
    [
      `ERR Error running script (call to f_${SHA}): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.`,
      'out-of-memory',
    ],
    [
      `ERR Error running script (call to f_${SHA}): @user_script:3: @user_script: 3: -READONLY You can't write against a read only replica.`,
      'read-only',
    ],
    [
      `ERR Error running script (call to f_${SHA}): @user_script:1: The user executing the script can't run this command or subcommand`,
      'no-permission',
    ],
    // Redis 7 and Valkey put the script behind it.
    [
      `READONLY You can't write against a read only replica. script: ${SHA}, on @user_script:1.`,
      'read-only',
    ],
    ['BUSY Valkey is busy running a script. You can only call SCRIPT KILL.', 'busy-script'],
    ['LOADING Valkey is loading the dataset in memory', 'loading'],
    ['TRYAGAIN Multiple keys request during rehashing of slot', 'cluster-down'],
    ['MISCONF Errors writing to the AOF file: No space left on device', 'cannot-persist'],
    ['ERR invalid password', 'wrong-password'],
    ['ERR Protocol error: unauthenticated multibulk length', 'auth-required'],
    ['All sentinels are unreachable and retry is disabled.', 'refused'],
    [
      'All sentinels are unreachable and retry is disabled. Last error: connect ECONNREFUSED 127.0.0.1:26379',
      'refused',
    ],
    [
      'All sentinels are unreachable. Retrying from scratch after 50ms. Last error: getaddrinfo ENOTFOUND sentinel',
      'dns',
    ],
    ['Command timed out', 'timeout'],
    ["Stream isn't writeable and enableOfflineQueue options is false", 'refused'],
    ['Reached the max retries per request limit (which is 0). Refer to …', 'refused'],
    ['Command aborted due to connection close', 'refused'],
  ])('reads %s', (message, condition) => {
    expect(conditionOf(new Error(message))).toBe(condition);
  });

  it.each<[string, ConditionName]>([
    ['ECONNRESET', 'refused'],
    ['EAI_AGAIN', 'dns'],
    ['ETIMEDOUT', 'timeout'],
    ['ENETUNREACH', 'timeout'],
    ['EPROTO', 'tls'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'tls'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls'],
    ['CERT_HAS_EXPIRED', 'tls'],
    ['CERT_NOT_YET_VALID', 'tls'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'tls'],
    ['EFROZEN', 'frozen'],
  ])('reads the code %s', (code, condition) => {
    expect(conditionOf(coded(code))).toBe(condition);
  });

  it('reads the errors that another stands for', () => {
    const aborted = Object.assign(new Error('EXECABORT Transaction discarded'), {
      previousErrors: [new Error('OOM command not allowed')],
    });
    expect(conditionOf(aborted)).toBe('out-of-memory');
    // ioredis, when the connection of a transaction closes.
    const closed = Object.assign(new Error('Connection is closed.'), {
      previousErrors: [] as Error[],
    });
    closed.previousErrors.push(closed);
    expect(conditionOf(closed)).toBe('refused');
    const cluster = Object.assign(new Error('Failed to refresh slots cache.'), {
      lastNodeError: coded('ECONNREFUSED'),
    });
    expect(conditionOf(cluster)).toBe('refused');
    expect(conditionOf(new Error('Failed to refresh slots cache.'))).toBe('cluster-down');
    // A name with two addresses that both refuse.
    const both = Object.assign(new AggregateError([coded('ECONNREFUSED')]), {
      code: 'ECONNREFUSED',
    });
    expect(conditionOf(both)).toBe('refused');
  });

  it('takes no text that merely mentions a condition for one', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('LOADING', 'OOM', 'READONLY', 'BUSY', 'NOAUTH', 'timed out', 'no answer'),
        fc.constantFrom(
          (word: string) => `Missing key for job ${word}. moveToFinished`,
          (word: string) => `ERR queue ${word} is unknown`,
          (word: string) => `BUSYGROUP Consumer Group ${word} already exists`,
          (word: string) => `Could not find job ${word}`,
        ),
        (word, sentence) => {
          expect(conditionOf(new Error(sentence(word)))).toBeUndefined();
        },
      ),
    );
  });

  it('knows nothing of what is no error', () => {
    fc.assert(
      fc.property(fc.anything(), (anything) => {
        if (!(anything instanceof Error)) expect(conditionOf(anything)).toBeUndefined();
      }),
    );
  });
});

describe('the catalogue', () => {
  it.each(Object.entries(conditions))('says of %s what to do, as sentences', (_name, condition) => {
    expect(condition.remedy).toMatch(/^[A-Z].*\.$/s);
    expect(condition.evidence).toMatch(/^[A-Z].*\.$/s);
    expect(condition.meaning).toMatch(/^[^A-Z].*[^.]$|^Redis .*[^.]$/s);
  });

  it('is documented name by name', () => {
    const page = readFileSync('docs/conditions.md', 'utf8');
    expect(page).toBe(conditionsPage());
    for (const name of Object.keys(conditions)) {
      expect(conditionAnchor(name)).toBe(`docs/conditions.md#${name}`);
      expect(page).toContain(`\n### ${name}\n`);
    }
  });

  it.each<[ConditionName, readonly string[]]>([
    ['auth-required', ['REDIS_PASSWORD_FILE', 'REDIS_URL_FILE']],
    ['wrong-password', ['REDIS_USERNAME', 'REDIS_PASSWORD_FILE', 'REDIS_URL_FILE']],
    ['no-permission', ['holdfast doctor', 'config/redis-acl.conf']],
  ])('says of %s every place that it may be mended in', (name, places) => {
    for (const place of places) expect(conditions[name].remedy).toContain(place);
  });

  it('has a section in the runbook for each word that needs a person', () => {
    const page = readFileSync('docs/outages.md', 'utf8');
    for (const name of Object.keys(conditions)) {
      // What is over when it is told, or goes by itself.
      if (['connecting', 'server-restarted', 'failed-over', 'event-loop-blocked'].includes(name)) {
        continue;
      }
      expect(page).toContain(`\`${name}\``);
    }
  });

  it('has a word for a name that it does not know', () => {
    expect(describeCondition('toString').meaning).toContain('toString');
    expect(describeCondition('frozen')).toBe(conditions.frozen);
  });

  it('probes slowly only what nobody but an operator can mend', () => {
    for (const [name, { pace, cause }] of Object.entries(conditions)) {
      if (pace === 'slow') expect(cause, name).toBe('configuration');
    }
  });
});
