import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { unknownConcurrencies } from '../../src/config-hints.ts';
import { configurationPage } from '../../src/configuration-page.ts';
import { ConfigError } from '../../src/errors.ts';
import { loadConfig } from '../../src/load-config.ts';
import { settings } from '../../src/settings.ts';

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'holdfast-config-'));
});

const load = (env: Record<string, string> = {}) => loadConfig({ env, cwd });

function problemsOf(env: Record<string, string>): string {
  try {
    load(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('the configuration was taken');
}

describe('the configuration', () => {
  it('needs nothing in development', () => {
    const { config, warnings } = load();
    expect(config).toMatchObject({
      environment: 'development',
      http: { host: '127.0.0.1', port: 8080 },
      shutdownGraceMs: 25_000,
      queues: [],
      dataDir: join(cwd, '.holdfast'),
    });
    expect(warnings).toEqual([]);
  });

  it('takes durations, sizes, lists and flags as people write them', () => {
    const { config } = load({
      SHUTDOWN_GRACE: '1.5m',
      UNKNOWN_JOB_GRACE: '250',
      MAX_JOB_BYTES: '2MiB',
      QUEUES: 'faq, webhook',
      HTTP: 'off',
      CONCURRENCY_FAQ: '3',
    });
    expect(config.shutdownGraceMs).toBe(90_000);
    expect(config.unknownJobGraceMs).toBe(250);
    expect(config.jobBytesMax).toBe(2 * 1024 * 1024);
    expect(config.queues).toEqual(['faq', 'webhook']);
    expect(config.http.enabled).toBe(false);
    expect(config.concurrency.perQueue).toEqual({ FAQ: 3 });
  });

  it('keeps more on disk than in memory, and as much as is said', () => {
    const bytesMax = (env: Record<string, string>) => load(env).config.resilience.journal.bytesMax;
    expect(bytesMax({})).toBe(512 * 1024 ** 2);
    expect(bytesMax({ JOURNAL: 'memory' })).toBe(64 * 1024 ** 2);
    expect(bytesMax({ JOURNAL: 'memory', JOURNAL_BYTES_MAX: '2M' })).toBe(2 * 1024 ** 2);
  });

  it('names every mistake at once: variable, value, what is allowed', () => {
    const message = problemsOf({ HTTP_PORT: '99999', LOG_LEVEL: 'loud', CONCURRENCY: '0' });
    expect(message).toContain('3 mistakes');
    expect(message).toMatch(/HTTP_PORT: "99999".*a port from 0 to 65535/);
    expect(message).toMatch(/LOG_LEVEL: "loud".*one of trace, debug/);
    expect(message).toMatch(/CONCURRENCY: "0".*a whole number from 1/);
  });

  it.each([
    ['SHUTDOWN_GRACE', '30d', 'from 0s to 24h'],
    ['STALLED_INTERVAL', '60d', 'from 1s to 24h'],
    ['STALLED_INTERVAL', '0', 'from 1s to 24h'],
    ['LOCK_DURATION', '0', 'from 1s to 24h'],
    ['PULSE_INTERVAL', '0', 'from 50ms to 1m'],
    ['WEDGE_AFTER', '0', 'from 1s to 24h'],
    ['ENQUEUE_TIMEOUT', '0', 'from 50ms to 5m'],
    ['UNKNOWN_JOB_GRACE', '40d', 'from 0s to 20d'],
    ['MAX_JOB_BYTES', '0', 'from 1K to 256M'],
    ['MAX_RESULT_BYTES', '2G', 'from 1K to 256M'],
    ['CONCURRENCY', '2000000000', 'from 1 to 10000'],
    ['CONCURRENCY_FAQ', '2000000000', 'from 1 to 10000'],
  ])(
    'refuses %s=%s, with which no service could work, and says the range',
    (name, value, range) => {
      expect(problemsOf({ [name]: value })).toMatch(new RegExp(`${name}: .*${value}.* ${range}`));
    },
  );

  it('has no duration that a timer could not keep', () => {
    for (const [name, { parse, allowed }] of Object.entries(settings)) {
      if (!allowed.startsWith('a duration') || name.startsWith('KEEP_')) continue;
      expect(parse.safeParse('25d').success, name).toBe(false);
      expect(parse.safeParse(settings[name]!.default ?? '').success, name).toBe(true);
    }
  });

  it('refuses a shortest pause that is longer than the longest', () => {
    expect(problemsOf({ BACKOFF_CAP_MIN: '2s', BACKOFF_CAP_MAX: '1s' })).toContain(
      'BACKOFF_CAP_MIN and BACKOFF_CAP_MAX',
    );
  });

  it('refuses QUEUES that name none, which would be taken for all', () => {
    expect(problemsOf({ QUEUES: ', ,' })).toMatch(/QUEUES: .*", ,".* at least one .* for all/);
    expect(load({ QUEUES: '' }).config.queues).toEqual([]);
  });

  it('is frozen', () => {
    expect(() => {
      (load().config.http as { port: number }).port = 1;
    }).toThrow(TypeError);
  });

  it('takes .env below the environment below the command line', () => {
    writeFileSync(join(cwd, '.env'), 'HTTP_PORT=1001\nCONCURRENCY=7\n');
    const { config, effective } = loadConfig({
      env: { HTTP_PORT: '1002' },
      cwd,
      overrides: { QUEUES: 'a' },
    });
    expect(config.http.port).toBe(1002);
    expect(config.concurrency.default).toBe(7);
    expect(config.queues).toEqual(['a']);
    expect(effective.find(({ name }) => name === 'CONCURRENCY')?.source).toBe('.env');
  });

  it('reads a secret from its file, and says when it cannot', () => {
    writeFileSync(join(cwd, 'token'), 'abc\n');
    expect(load({ HTTP_TOKEN_FILE: join(cwd, 'token') }).config.http.token).toBe('abc');
    expect(problemsOf({ HTTP_TOKEN_FILE: join(cwd, 'none') })).toContain('ENOENT');
  });

  it('refuses production without a Redis', () => {
    expect(problemsOf({ NODE_ENV: 'production' })).toContain('production needs a Redis');
    expect(load({ NODE_ENV: 'production', REDIS_URL: 'redis://r' }).config.redis.url).toBe(
      'redis://r',
    );
  });

  it.each([
    ['https://usable-fox.upstash.io', 'REST API'],
    ['redis-cli -u redis://h:6379', 'paste only the URL'],
    ['"redis://h:6379"', 'quotes'],
    ['redis://h:6379\u2028GITHUB_TOKEN=x', 'line separator'],
    ['redis://h:6379 x', 'white space'],
    ['h:6379', 'redis://host:6379'],
  ])('explains what is wrong with %s', (url, advice) => {
    expect(problemsOf({ REDIS_URL: url })).toContain(advice);
  });

  it('takes one way to Redis, and a name with Sentinels', () => {
    expect(problemsOf({ REDIS_URL: 'redis://h', REDIS_CLUSTER_NODES: 'a:1' })).toContain(
      'set one of them',
    );
    expect(problemsOf({ REDIS_SENTINELS: 'a:26379' })).toContain('REDIS_SENTINEL_NAME');
    expect(
      load({ REDIS_CLUSTER_NODES: 'a:1,[::1]:2', QUEUE_PREFIX: '{bull}' }).config.redis
        .clusterNodes,
    ).toEqual([
      { host: 'a', port: 1 },
      { host: '::1', port: 2 },
    ]);
  });

  it.each([
    [{ REDIS_PASSWORD_FILE: '/nope/password' }, 'REDIS_PASSWORD_FILE: /nope/password', 'ENOENT'],
    [
      { REDIS_URL: 'rediss://h', REDIS_TLS_CA_FILE: '/nope/ca.pem' },
      'REDIS_TLS_CA_FILE: /nope/ca.pem',
      'ENOENT',
    ],
    [
      { REDIS_URL: 'redis://h', REDIS_TLS_SERVER_NAME: 'a.test' },
      'REDIS_TLS_SERVER_NAME',
      'rediss://',
    ],
    [
      { REDIS_CLUSTER_NODES: 'a:1', REDIS_TLS_SERVER_NAME: 'a.test', QUEUE_PREFIX: '{b}' },
      'REDIS_TLS_SERVER_NAME',
      'REDIS_TLS=true',
    ],
    [{ REDIS_SENTINEL_NAME: 'main' }, 'REDIS_SENTINEL_NAME: main', 'REDIS_SENTINELS'],
    [
      { REDIS_CLUSTER_NODES: 'a:1', REDIS_DB: '2', QUEUE_PREFIX: '{b}' },
      'REDIS_DB: 2',
      'only database 0',
    ],
    [{ REDIS_CLUSTER_NODES: 'a:1' }, 'QUEUE_PREFIX: bull', '{bull}'],
    [{ LLM_BASE_URL: 'nonsense' }, 'LLM_BASE_URL: "nonsense"', 'a URL such as'],
    [{ LLM_TIMEOUT: '1h' }, 'LLM_TIMEOUT: "1h"', 'from 1s to 30m'],
    [{ WEBHOOK_SECRET: 'not base64!' }, 'WEBHOOK_SECRET: "***"', 'openssl rand -base64 32'],
  ])('refuses %j: it would fail later, or do nothing', (env, what, advice) => {
    const message = problemsOf(env as unknown as Record<string, string>);
    expect(message).toContain(what);
    expect(message).toContain(advice);
  });

  it('for a service refuses each of its source folders that is not there', () => {
    mkdirSync(join(cwd, 'docs'));
    const env = { SOURCES_ROOTS: 'docs,dosc' };
    expect(() => loadConfig({ env, cwd, isForService: true })).toThrow(/SOURCES_ROOTS: dosc/);
    expect(() => loadConfig({ env, cwd, isForService: true })).not.toThrow(/SOURCES_ROOTS: docs/);
    expect(load(env).config.faq.sourcesRoots).toHaveLength(2);
    expect(loadConfig({ env: {}, cwd, isForService: true }).config.faq.sourcesRoots).toHaveLength(
      1,
    );
  });

  it.each([
    [
      { REDIS_HOST: 'db' },
      'REDIS_HOST is not a setting of Holdfast and has no effect; set REDIS_URL.',
    ],
    [{ REDIS_PORT: '6380' }, 'set REDIS_URL'],
    [{ REDIS_PASS: 'x' }, 'set REDIS_PASSWORD'],
    [{ HTTP_PORT: 'tcp://10.0.0.7:80' }, 'HTTP_PORT=tcp://10.0.0.7:80 is what Kubernetes injects'],
    [{ METRICS_PORT: 'tcp://10.0.0.7:80' }, 'METRICS_PORT'],
  ])('warns of %j', (env, warning) => {
    const { warnings, config } = load(env as unknown as Record<string, string>);
    expect(warnings).toEqual([expect.stringContaining(warning)]);
    expect([config.http.port, config.metrics.port]).toEqual([8080, undefined]);
  });

  it('warns of the concurrency of a queue that nobody handles', () => {
    const perQueue = { FAK: 5, EMAIL_OUT: 1, steps: 2, REPORT: 3 };
    expect(unknownConcurrencies(perQueue, ['faq', 'email-out', 'steps'])).toEqual([
      'CONCURRENCY_FAK has no effect: no handler has a queue of that name; did you mean CONCURRENCY_FAQ?',
      'CONCURRENCY_REPORT has no effect: no handler has a queue of that name.',
    ]);
  });

  it('warns of a name that is nearly one of ours, and leaves injected ones alone', () => {
    expect(load({ HTPP_PORT: '1' }).warnings.join()).toContain('did you mean HTTP_PORT?');
    expect(load({ REDIS_PASWORD: 'x' }).warnings.join()).toContain('REDIS_PASSWORD');
    expect(
      load({
        REDIS_PORT: 'tcp://10.0.0.1:6379',
        REDIS_SERVICE_HOST: '10.0.0.1',
        REDIS_PORT_6379_TCP_ADDR: '10.0.0.1',
        HOME: '/root',
        PATH: '/bin',
      }).warnings,
    ).toEqual([]);
  });

  it('shows no secret, whatever it is made of', () => {
    const secret = fc.stringMatching(/^[A-Za-z0-9!$%&*+-]{8,30}$/);
    fc.assert(
      fc.property(secret, (word) => {
        const shown = JSON.stringify(
          load({
            REDIS_URL: `redis://user:${encodeURIComponent(word)}@host:6379`,
            HTTP_TOKEN: word,
            LLM_API_KEY: word,
          }).effective,
        );
        return !shown.includes(word) && !shown.includes(encodeURIComponent(word));
      }),
    );
  });

  it('shows which file the password of Redis is read from, and where that was said', () => {
    const file = join(cwd, 'redis');
    writeFileSync(file, 'x');
    const { effective, config } = load({ REDIS_PASSWORD_FILE: file });
    expect(config.redis.passwordFile).toBe(file);
    expect(effective).toContainEqual({
      name: 'REDIS_PASSWORD_FILE',
      value: file,
      source: 'environment',
    });
    expect(load({}).effective.map(({ name }) => name)).not.toContain('REDIS_PASSWORD_FILE');
  });

  it('is documented as it is', () => {
    expect(readFileSync('docs/configuration.md', 'utf8')).toBe(configurationPage());
  });
});

describe('the tokens', () => {
  const onlyWrite = { HTTP_WRITE_TOKEN: 'for-producers-only' };

  it('of a service must let somebody administer it', () => {
    expect(problemsOf(onlyWrite)).toContain('nobody could administer');
  });

  it('of a caller need be no more than one', () => {
    expect(loadConfig({ env: onlyWrite, cwd, isCaller: true }).config.http).toMatchObject({
      token: undefined,
      writeToken: 'for-producers-only',
    });
  });
});
