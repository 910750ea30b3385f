/** Redis with mutual TLS and a user of least privilege: the service works, and can do no more. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Redis } from 'ioredis';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createService } from '../../src/service.ts';
import type { Service } from '../../src/service-contract.ts';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';

const PASSWORD = 'of-the-least-privilege';
let dir: string;
let redis: RedisServer;
let tlsPort: number;

const file = (name: string) => join(dir, name);
const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' });

/** A certificate of the authority in `ca.pem`. */
function certify(name: string, subject: string): void {
  const request = file(`${name}.csr`);
  const extension = file(`${name}.ext`);
  writeFileSync(extension, `subjectAltName=DNS:${subject}`);
  const key = ['-newkey', 'rsa:2048', '-nodes', '-keyout', file(`${name}.key`)];
  openssl('req', ...key, '-out', request, '-subj', `/CN=${subject}`);
  const authority = ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial'];
  const output = ['-days', '1', '-extfile', extension, '-out', file(`${name}.pem`)];
  openssl('x509', '-req', '-in', request, ...authority, ...output);
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-test-access-'));
  const authority = ['-subj', '/CN=Test authority', '-days', '1', '-nodes'];
  const key = ['-newkey', 'rsa:2048', '-keyout', file('ca.key')];
  openssl('req', '-x509', ...key, ...authority, '-out', file('ca.pem'));
  certify('server', 'redis.test');
  certify('client', 'holdfast.test');
  tlsPort = await freePort();
  redis = await startRedis({
    aof: 'always',
    args: [
      ...['--include', resolve('config/redis-acl.conf')],
      ...['--tls-port', `${tlsPort}`, '--tls-cert-file', file('server.pem')],
      ...['--tls-key-file', file('server.key'), '--tls-ca-cert-file', file('ca.pem')],
      ...['--tls-auth-clients', 'yes'],
    ],
  });
  await givePassword(PASSWORD);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const givePassword = (password: string) =>
  redis.command('ACL', 'SETUSER', 'holdfast', 'resetpass', `>${password}`);

async function start(settings: Record<string, string> = {}) {
  const data = mkdtempSync(file('service-'));
  writeFileSync(join(data, 'password'), `${PASSWORD}\n`);
  for (const name of ['client.pem', 'client.key']) copyFileSync(file(name), join(data, name));
  const lines: { event?: string; condition?: string }[] = [];
  const service = createService({
    settings: {
      REDIS_URL: `rediss://127.0.0.1:${tlsPort}`,
      REDIS_USERNAME: 'holdfast',
      REDIS_PASSWORD_FILE: join(data, 'password'),
      REDIS_TLS_CA_FILE: file('ca.pem'),
      REDIS_TLS_CERT_FILE: join(data, 'client.pem'),
      REDIS_TLS_KEY_FILE: join(data, 'client.key'),
      REDIS_TLS_SERVER_NAME: 'redis.test',
      HTTP_PORT: '0',
      DATA_DIR: data,
      CONFIG_DIR: join(data, 'config'),
      ...settings,
    },
    workers: [WORKER],
    log: pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
  });
  onTestFinished(() => service.stop());
  await service.start();
  return { service, lines, file: (name: string) => join(data, name) };
}

const WORKER = {
  queue: 'greet',
  attempts: 2,
  backoff: { type: 'fixed', delay: 10 },
  handler: async ({ name, fails }: { name: string; fails?: boolean }, job: { attempt: number }) => {
    if (fails && job.attempt === 1) throw new Error('the first time');
    return `hello ${name}`;
  },
} as unknown as WorkerDefinition;

const stateOf = async (service: Service, id: string) =>
  (await service.client.job('greet', id).catch(() => undefined))?.state;
const isDone = (service: Service, id: string) =>
  expect.poll(() => stateOf(service, id), { timeout: 15_000 }).toBe('completed');
const readiness = async (service: Service) =>
  (await (await fetch(`${service.address}/readyz`)).json()) as Record<string, string>;
const breakerIs = (service: Service, breaker: string) =>
  expect.poll(async () => (await readiness(service)).breaker, { timeout: 15_000 }).toBe(breaker);

describe('with mutual TLS and the user of config/redis-acl.conf', () => {
  it('the service runs jobs, comes through an outage, and is refused nothing', async () => {
    const { service } = await start();
    await breakerIs(service, 'closed');
    const options = { delay: 20, priority: 3 };
    const { id } = await service.client.enqueue(
      'greet',
      'a',
      { name: 'Ada', fails: true },
      options,
    );
    await isDone(service, id);
    const parent = { queue: 'greet', name: 'p', data: { name: 'parent' } };
    const children = [{ queue: 'greet', name: 'c', data: { name: 'child' } }];
    const flow = await service.client.flow({ ...parent, children });
    await isDone(service, flow.id);
    await redis.kill();
    await breakerIs(service, 'open');
    const kept = await service.client.enqueue('greet', 'b', { name: 'Bob' });
    expect(kept.stored).toBe('journal');
    await redis.restart();
    // It was not in the file, as a real one is.
    await givePassword(PASSWORD);
    await isDone(service, kept.id);
    const board = await fetch(
      `${service.address}/queues/api/queues?activeQueue=greet&status=latest`,
    );
    expect(board.status).toBe(200);
    expect((await fetch(`${service.address}/v1/status`)).status).toBe(200);
    const denied = (await redis.command('ACL', 'LOG')) as unknown[][];
    const commands = denied.filter(
      (entry) => entry.includes('holdfast') && !entry.includes('auth'),
    );
    expect(commands).toEqual([]);
  });

  it.each(
    [
      ['FLUSHALL'],
      ['FLUSHDB'],
      ['KEYS', '*'],
      ['SCAN', '0'],
      ['CONFIG', 'SET', 'maxmemory', '1'],
      ['CONFIG', 'GET', '*'],
      ['ACL', 'LIST'],
      ['CLIENT', 'KILL', 'TYPE', 'normal'],
      ['MONITOR'],
      ['SHUTDOWN'],
      ['DEBUG', 'SLEEP', '1'],
      ['REPLICAOF', 'NO', 'ONE'],
      ['SUBSCRIBE', 'bull:x'],
      ['PUBLISH', 'x', 'y'],
      ['GET', 'another:app'],
      ['SET', 'another:app', '1'],
      ['EVAL', "return redis.call('GET', 'another:app')", '0'],
      ['EVAL', "return redis.call('FLUSHALL')", '0'],
      ['FUNCTION', 'LIST'],
      ['SCRIPT', 'FLUSH'],
    ].map((command) => [command.join(' '), command] as const),
  )('that user may not %s', async (_, command) => {
    const client = new Redis(redis.port, '127.0.0.1', {
      ...{ username: 'holdfast', password: PASSWORD, lazyConnect: true, maxRetriesPerRequest: 0 },
      retryStrategy: () => null,
    });
    client.on('error', () => {});
    onTestFinished(() => client.disconnect());
    await client.connect();
    const [name = '', ...args] = command;
    await expect(client.call(name, ...args)).rejects.toThrow(
      /NOPERM|user executing the script can't/,
    );
  });

  it('a server that shows another name, or a client without a certificate, gets nowhere', async () => {
    for (const settings of [
      { REDIS_TLS_SERVER_NAME: 'other.test' },
      { REDIS_TLS_CERT_FILE: '', REDIS_TLS_KEY_FILE: '' },
    ]) {
      const { service } = await start(settings);
      await expect
        .poll(async () => (await readiness(service)).condition, { timeout: 15_000 })
        .toMatch(/tls|refused|half-open/);
      await service.stop();
    }
  });
});

describe('secrets that change while the service runs', () => {
  it('are read again, and used at the next connect; no job is dropped', async () => {
    const { service, lines, file: own } = await start();
    await breakerIs(service, 'closed');
    certify('renewed', 'holdfast.test');
    copyFileSync(file('renewed.key'), own('client.key'));
    copyFileSync(file('renewed.pem'), own('client.pem'));
    await givePassword('another-one');
    writeFileSync(own('password'), 'another-one\n');
    await service.reload();
    expect(lines.map(({ event }) => event)).toContain('credentials.reloaded');
    // Nothing was disconnected for it …
    expect(lines.filter(({ event }) => event === 'outage.opened')).toEqual([]);
    // … and when everything is, the new ones serve.
    await redis.command('CLIENT', 'KILL', 'USER', 'holdfast');
    const { id } = await service.client.enqueue('greet', 'c', { name: 'Cy' });
    await isDone(service, id);
    await givePassword(PASSWORD);
  });

  it('that Redis does not take are named, and work goes on', async () => {
    const { service, lines, file: own } = await start();
    await breakerIs(service, 'closed');
    const before = await service.client.enqueue('greet', 'd', { name: 'Di' });
    await isDone(service, before.id);
    writeFileSync(own('password'), 'a mistake\n');
    await service.reload();
    expect(lines.find(({ event }) => event === 'credentials.refused')).toMatchObject({
      condition: 'wrong-password',
    });
    const { id } = await service.client.enqueue('greet', 'd', { name: 'Di' });
    await isDone(service, id);
  });
});
