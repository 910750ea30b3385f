/**
 * No secret of a setting in anything that leaves over HTTP, whatever the secret looks like: every route
 * of a service whose Redis does not answer, or does not take the password, so that errors are about it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import pino from 'pino';
import { expect, it } from 'vitest';
import { ROUTES } from '../../src/http/routes.ts';
import { createService } from '../../src/service.ts';
import { freePort, startRedis } from '../support/redis-server.ts';

/** A stream says something at once, and then nothing for long, ms. */
const READ_MS = 150;

/** Long enough not to stand in our own texts by chance, and of all that a header may carry. */
const secret = fc
  .string({
    unit: fc.constantFrom(...'aZ09-_.~!$&\'()*+,;=:@/?#%[]{}|^"\\<>'),
    minLength: 12,
    maxLength: 40,
  })
  .map((text) => `q7${text}7q`);

const secrets = fc.record({
  password: secret,
  administer: secret,
  write: secret,
  read: secret,
  webhook: secret.map((text) => `whsec_${Buffer.from(text).toString('base64')}`),
  llm: secret,
  /** What somebody tries who has no token. */
  guess: secret,
});

type Secrets = typeof secrets extends fc.Arbitrary<infer T> ? T : never;

function settingsOf(known: Secrets, port: number, dir: string): Record<string, string> {
  return {
    REDIS_URL: `redis://user:${encodeURIComponent(known.password)}@127.0.0.1:${port}`,
    HTTP_TOKEN: known.administer,
    HTTP_WRITE_TOKEN: known.write,
    HTTP_READ_TOKEN: known.read,
    WEBHOOK_SECRET: known.webhook,
    LLM_BASE_URL: 'http://127.0.0.1:9/v1',
    LLM_API_KEY: known.llm,
    LLM_MODEL: 'none',
    HTTP_PORT: '0',
    DATA_DIR: dir,
    CONFIG_DIR: dir,
    ENQUEUE_TIMEOUT: '100ms',
    SHUTDOWN_GRACE: '100ms',
  };
}

/** All that a caller sees of an answer, until it ends or falls silent. */
async function answerTo(url: string, init: RequestInit): Promise<string> {
  const silence = AbortSignal.timeout(READ_MS);
  const response = await fetch(url, { ...init, redirect: 'manual' });
  let text = JSON.stringify([...response.headers]);
  const reader = response.body?.getReader();
  silence.addEventListener('abort', () => void reader?.cancel().catch(() => undefined));
  for (;;) {
    const { done = true, value } = (await reader?.read()) ?? {};
    if (done) return text;
    text += Buffer.from(value!).toString();
  }
}

/** Every route, as it should be asked and as it should not. */
async function* answers(address: string, known: Secrets): AsyncGenerator<string> {
  const authorization = `Bearer ${known.administer}`;
  const list = await fetch(`${address}/v1/outages`, { headers: { authorization } });
  // The outage that goes on, with the errors that told it.
  const { outages } = (await list.json()) as { outages: { id: string }[] };
  for (const { method, path } of ROUTES) {
    const id = path.includes('/outages') ? outages[0]!.id : 'none';
    const place = path.replace(':queue', 'faq').replace(':id', id).replace('/*', '/api/queues');
    const url = address + place;
    const isRead = method === '*' || method === 'GET';
    const plain = { method: isRead ? 'GET' : method };
    const json = { 'content-type': 'application/json' };
    for (const token of [known.administer, known.guess]) {
      const headers = { authorization: `Bearer ${token}` };
      yield await answerTo(url, { ...plain, headers });
      if (isRead) continue;
      for (const body of ['{}', '{"data":{"question":"Why?"}}', `{"data":"${token}`]) {
        yield await answerTo(url, { ...plain, headers: { ...headers, ...json }, body });
      }
    }
  }
  for (const token of [known.administer, known.guess]) {
    const body = new URLSearchParams({ token });
    yield await answerTo(`${address}/login`, { method: 'POST', body });
  }
}

async function expectNoneLeaves(known: Secrets, port: number): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-test-secrets-'));
  const service = createService({
    settings: settingsOf(known, port, dir),
    workers: [{ queue: 'faq', handler: () => undefined }],
    log: pino({ level: 'silent' }),
  });
  await service.start();
  try {
    const address = service.address!;
    const isAway = async () => await (await fetch(`${address}/readyz`)).text();
    await expect.poll(isAway).not.toContain('connecting');
    let count = 0;
    for await (const answer of answers(address, known)) {
      count++;
      for (const [name, value] of Object.entries(known)) {
        for (const form of [value, encodeURIComponent(value), JSON.stringify(value).slice(1, -1)]) {
          expect(answer, `${name} in ${answer}`).not.toContain(form);
        }
      }
    }
    expect(count).toBeGreaterThan(ROUTES.length * 2);
  } finally {
    await service.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

it('a secret of a setting is in no answer while nothing listens at the address', async () => {
  const port = await freePort();
  await fc.assert(
    fc.asyncProperty(secrets, (known) => expectNoneLeaves(known, port)),
    { numRuns: 6 },
  );
});

it('a secret of a setting is in no answer while Redis refuses the password', async () => {
  const redis = await startRedis();
  await redis.command('ACL', 'SETUSER', 'user', 'on', '>another', '~*', '+@all');
  await fc.assert(
    fc.asyncProperty(secrets, (known) => expectNoneLeaves(known, redis.port)),
    { numRuns: 6 },
  );
});
