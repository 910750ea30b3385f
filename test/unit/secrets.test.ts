/** No password of a URL in a log line, a record, a post-mortem or a message, whatever it looks like. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RedisUrlError } from '../../src/errors.ts';
import { loadConfig } from '../../src/load-config.ts';
import { postMortem } from '../../src/outage/post-mortem.ts';
import { noteEvidence, openRecord } from '../../src/outage/record.ts';
import { redactPlain } from '../../src/redaction.ts';
import { redactRedisUrl } from '../../src/redis/address.ts';
import { describeCondition } from '../../src/redis/condition-catalogue.ts';
import { createLogger } from '../../src/telemetry/log.ts';

/** Long enough not to stand in our own texts by chance, and of all that a password may hold. */
const secret = fc
  .string({
    unit: fc.constantFrom(...'aZ09-_.~!$&\'()*+,;=:@/?#%[]{}|^"\\<>'),
    minLength: 8,
    maxLength: 40,
  })
  .map((text) => `q7${text}7q`);

/** As people write it: encoded as it should be, or as it is. */
const url = fc
  .tuple(secret, fc.constantFrom('', 'user'), fc.constantFrom('redis', 'rediss'), fc.boolean())
  .map(([password, user, scheme, isEncoded]) => {
    const written = isEncoded ? encodeURIComponent(password) : password;
    return { written, password, url: `${scheme}://${user}:${written}@redis.test:6379/0` };
  });

function expectHidden(text: string, { written, password }: { written: string; password: string }) {
  for (const form of [written, password, JSON.stringify(password).slice(1, -1)]) {
    expect(text).not.toContain(form);
  }
}

it('a secret of a URL is in no log line, record, post-mortem or message', () => {
  fc.assert(
    fc.property(url, (secretUrl) => {
      const lines: string[] = [];
      const log = createLogger(
        { log: { level: 'info', format: 'json' }, replica: 'r', version: '0' },
        { write: (line) => lines.push(line) },
      );
      const said = `connect to ${secretUrl.url} failed`;
      log.error({ event: 'x', err: new Error(said), evidence: [{ text: said }] }, said);
      expectHidden(lines.join(), secretUrl);
      expect(JSON.parse(lines[0]!)).toMatchObject({ event: 'x' });

      const record = openRecord('o-1', 'refused', 0, 0);
      noteEvidence(record, said, 0);
      noteEvidence(record, `${'x'.repeat(280)} ${said}`, 0);
      expectHidden(JSON.stringify(record), secretUrl);
      const owner = { replica: 'r', version: '0', host: 'h', pid: 1, commandLine: '' };
      const stored = { format: 1 as const, ...owner, updatedAt: 0, interrupted: false, ...record };
      expectHidden(postMortem([stored], describeCondition, 0), secretUrl);

      expectHidden(redactRedisUrl(secretUrl.url), secretUrl);
      expectHidden(new RedisUrlError(redactRedisUrl(secretUrl.url), 'is wrong').message, secretUrl);
    }),
    { numRuns: 500 },
  );
});

it('a secret of a field or of a query is in no log line, however deep it stands and however it is written', () => {
  const names = [
    'password',
    'Authorization',
    'apiKey',
    'API_KEY',
    'x-api-key',
    'clientSecret',
    'token',
  ];
  fc.assert(
    fc.property(
      secret,
      fc.constantFrom(...names),
      fc.integer({ min: 0, max: 5 }),
      (word, name, deep) => {
        const lines: string[] = [];
        const log = createLogger(
          { log: { level: 'info', format: 'json' }, replica: 'r', version: '0' },
          { write: (line) => lines.push(line) },
        );
        let field: object = { [name]: word };
        for (let i = 0; i < deep; i += 1) field = { inner: field };
        const query = `GET https://api.test/v1?n=1&${name.replace('x-', '')}=${encodeURIComponent(word)}`;
        log.error({ event: 'x', ...field, err: new Error(`${query} failed`) }, query);
        expectHidden(lines.join(), { written: encodeURIComponent(word), password: word });
        expect(JSON.parse(lines[0]!)).toMatchObject({
          event: 'x',
          err: { message: expect.stringContaining('n=1') },
        });
        expect(redactPlain(query)).not.toContain(encodeURIComponent(word));
      },
    ),
    { numRuns: 300 },
  );
});

it('what is no secret stays in the log', () => {
  const lines: string[] = [];
  const log = createLogger(
    { log: { level: 'info', format: 'json' }, replica: 'r', version: '0' },
    { write: (line) => lines.push(line) },
  );
  const said = {
    tokens: 12,
    secretFiles: ['/run/x'],
    url: 'http://a.test/?page=2&tokens=3',
    key: 'k',
  };
  log.info({ event: 'x', ...said }, 'Send a Bearer token, or set HTTP_TOKEN.');
  expect(JSON.parse(lines[0]!)).toMatchObject({
    ...said,
    msg: expect.stringContaining('Bearer token,'),
  });
});

it('a secret of a setting is shown by no configuration and no complaint about one', () => {
  fc.assert(
    fc.property(url, (secretUrl) => {
      const env = { REDIS_URL: secretUrl.url, HTTP_TOKEN: secretUrl.password, HTTP_PORT: '0' };
      const cwd = '/nowhere';
      let shown: string;
      try {
        shown = JSON.stringify(loadConfig({ env, cwd }).effective);
      } catch (error) {
        shown = `${(error as Error).message} ${JSON.stringify((error as { data?: unknown }).data)}`;
      }
      expectHidden(shown, secretUrl);
      expect(() => loadConfig({ env: { ...env, HTTP_PORT: 'x' }, cwd })).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining(secretUrl.password) }),
      );
    }),
    { numRuns: 200 },
  );
});
