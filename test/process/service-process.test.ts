/** The service as a process: how it starts, refuses, obeys signals and ends. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Queue } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';
import { killServices, ServiceProcess } from '../support/service-process.ts';

let server: RedisServer;
let workers: string;
beforeAll(async () => {
  server = await startRedis();
  workers = mkdtempSync(join(tmpdir(), 'holdfast-workers-'));
  writeFileSync(
    join(workers, 'nap.ts'),
    `import { defineWorker } from 'holdfast';
     export default defineWorker({ queue: 'nap', handler: (job) =>
       new Promise((resolve) => setTimeout(() => resolve(job.data.ms), job.data.ms)) });`,
  );
  writeFileSync(
    join(workers, 'careless.mjs'),
    `export default { queue: 'careless', handler() { Promise.reject(new Error('nobody catches me')); } };`,
  );
});
afterEach(async () => {
  await killServices();
  await server.command('FLUSHALL');
});
afterAll(() => server.stop());

const start = (env: Record<string, string> = {}, args: string[] = []) =>
  new ServiceProcess({ REDIS_URL: server.url, WORKERS_DIR: workers, ...env }, args);

async function add(queue: string, data: object): Promise<void> {
  const producer = new Queue(queue, { connection: { host: server.host, port: server.port } });
  await producer.add(queue, data);
  await producer.close();
}

describe('a service', () => {
  it('runs jobs of a plain producer, logs JSON only, and ends with 0 on SIGTERM', async () => {
    const service = start();
    await service.until('service.started');
    await add('nap', { ms: 5 });
    expect(await service.until('job.completed')).toMatchObject({
      level: 'info',
      service: 'holdfast',
      queue: 'nap',
      jobName: 'nap',
      attempt: 1,
      attemptsMax: 1,
      outcome: 'completed',
    });
    expect(await service.stop()).toBe(0);
    expect(service.noise).toEqual([]);
    expect(service.stderr).toBe('');
    for (const line of service.lines) {
      expect(new Date(String(line.time)).toISOString()).toBe(line.time);
      expect(line).toMatchObject({ replica: expect.any(String), version: expect.any(String) });
    }
  });

  it('gives its workers the settings of .env, and serves what they wrote with them', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-dotenv-'));
    mkdirSync(join(folder, 'texts'));
    writeFileSync(
      join(folder, 'texts', 'valves.md'),
      '# Valves\n\nClose the main before you replace a valve, since water would flood the cellar.\n',
    );
    writeFileSync(join(folder, '.env'), 'SOURCES_ROOTS=texts\nOUTPUT_DIR=documents\n');
    const service = start({ WORKERS_DIR: resolve('workers'), DATA_DIR: folder });
    await service.until('service.started');
    const jobs = `${service.url}/v1/queues/faq/jobs`;
    const answer = await fetch(jobs, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ data: { question: 'How do I replace a valve?' } }),
    });
    const { id } = (await answer.json()) as { id: string };
    await service.until('job.completed');
    const document = await (await fetch(`${jobs}/${id}/document`)).text();
    expect(document).toContain('texts/valves.md');
    expect(readFileSync(join(folder, 'documents', `${id}.md`), 'utf8')).toBe(document);
  });

  it('waits for a running job when it is told to stop', async () => {
    const service = start();
    await service.until('service.started');
    await add('nap', { ms: 700 });
    await expect.poll(async () => (await health(service)).running).toBe(1);
    expect(await service.stop('SIGINT')).toBe(0);
    expect(service.of('job.completed')).toHaveLength(1);
  });

  it('ends at once at a second signal', async () => {
    const service = start();
    await service.until('service.started');
    await add('nap', { ms: 20_000 });
    await expect.poll(async () => (await health(service)).running).toBe(1);
    service.child.kill('SIGINT');
    await service.until('service.stopping');
    expect(await service.stop('SIGTERM')).toBe(143);
  });

  it('reads its secrets again on SIGHUP, and goes on: the old token is over, the new one is not', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'holdfast-test-token-')), 'token');
    writeFileSync(file, 'the-first-token\n');
    const service = start({ HTTP_TOKEN_FILE: file });
    const { http } = await service.until('service.started');
    const statusWith = async (token: string) =>
      (await fetch(`${http}/v1/queues`, { headers: { authorization: `Bearer ${token}` } })).status;
    expect(await statusWith('the-first-token')).toBe(200);
    writeFileSync(file, 'the-second-token\n');
    service.child.kill('SIGHUP');
    await service.until('credentials.reloaded');
    expect(await statusWith('the-first-token')).toBe(401);
    expect(await statusWith('the-second-token')).toBe(200);
    expect(await service.stop('SIGTERM')).toBe(0);
  });

  it('takes no more jobs after SIGTSTP, and goes on with those that run', async () => {
    const service = start();
    await service.until('service.started');
    await add('nap', { ms: 500 });
    await expect.poll(async () => (await health(service)).running).toBe(1);
    service.child.kill('SIGTSTP');
    await service.until('workers.quiet');
    await add('nap', { ms: 1 });
    await service.until('job.completed');
    expect(await service.stop()).toBe(0);
    expect(service.of('job.completed')).toHaveLength(1);
    const queue = new Queue('nap', { connection: { host: server.host, port: server.port } });
    expect(await queue.getWaitingCount()).toBe(1);
    await queue.close();
  });

  it('stops gracefully with 70 after an error that nobody handled, told once', async () => {
    const service = start();
    await service.until('service.started');
    await add('careless', {});
    expect(await service.exited).toEqual({ code: 70, signal: null });
    const [line, ...others] = service.of('service.unhandled');
    expect(line).toMatchObject({ level: 'fatal', err: { message: 'nobody catches me' } });
    expect(others).toEqual([]);
  });

  it('comes up without Redis, says so once, and works when Redis appears', async () => {
    const port = await freePort();
    const service = start({ REDIS_URL: `redis://127.0.0.1:${port}` });
    await service.until('service.started');
    await service.until('outage.opened');
    expect((await fetch(`${service.url}/livez`)).status).toBe(200);
    // Ready for producers, whose jobs the journal keeps; not for consuming.
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
    expect((await fetch(`${service.url}/readyz/consume`)).status).toBe(503);
    const late = await startRedis({ port });
    await service.until('outage.closed');
    const producer = new Queue('nap', { connection: { host: '127.0.0.1', port } });
    await producer.add('nap', { ms: 1 });
    await service.until('job.completed');
    expect(service.of('outage.opened')).toHaveLength(1);
    await producer.close();
    expect(await service.stop()).toBe(0);
    await late.stop();
  });

  it.each(['', ','])('refuses --queues "%s", which would be all of them', async (queues) => {
    const service = start({}, ['--queues', queues]);
    expect(await service.exited).toEqual({ code: 2, signal: null });
    expect(service.stderr).toContain(`--queues "${queues}" names no queue`);
  });

  it('refuses with 78 a DATA_DIR that it cannot write to', async () => {
    const file = join(workers, '..', `holdfast-file-${process.pid}`);
    writeFileSync(file, '');
    const service = new ServiceProcess({ WORKERS_DIR: workers }, [], { DATA_DIR: file });
    expect(await service.exited).toEqual({ code: 78, signal: null });
    expect(service.stderr).toMatch(
      /DATA_DIR: .*holdfast-file.*a folder .* that the service may write/,
    );
  });

  it('ends although Redis was never there', async () => {
    const service = start({ REDIS_URL: `redis://127.0.0.1:${await freePort()}` });
    await service.until('service.started');
    expect(await service.stop()).toBe(0);
  });
});

async function health(service: ServiceProcess): Promise<{ running: number }> {
  const queue = new Queue('nap', { connection: { host: server.host, port: server.port } });
  const running = await queue.getActiveCount();
  await queue.close();
  expect(service.child.exitCode).toBeNull();
  return { running };
}

describe('a start is refused', () => {
  it('with 78 and every mistake of the configuration at once', async () => {
    const service = start({ HTTP_PORT: 'eighty', LOG_LEVEL: 'loud', REDIS_URL: 'https://x.io' });
    expect((await service.exited).code).toBe(78);
    for (const name of ['HTTP_PORT', 'LOG_LEVEL', 'REDIS_URL']) {
      expect(service.stderr).toContain(name);
    }
    expect(service.stderr).not.toContain('    at ');
  });

  it('with 78 in production without a Redis', async () => {
    const service = start({ NODE_ENV: 'production', REDIS_URL: '' });
    expect((await service.exited).code).toBe(78);
    expect(service.stderr).toContain('production needs a Redis');
  });

  it('with 78 and the file and line of a handler that cannot be used', async () => {
    const broken = mkdtempSync(join(tmpdir(), 'holdfast-workers-'));
    writeFileSync(join(broken, 'a.ts'), 'export default { queue: "a" };\n');
    writeFileSync(join(broken, 'b.ts'), 'export default {\n  queue: ;\n};\n');
    const service = start({ WORKERS_DIR: broken });
    expect((await service.exited).code).toBe(78);
    expect(service.stderr).toContain('a.ts');
    expect(service.stderr).toMatch(/b\.ts:2/);
  });

  it('when its port is taken, with a word on how to choose another', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const service = start({ HTTP_PORT: String(port) });
    expect((await service.exited).code).not.toBe(0);
    expect(service.stderr).toContain(String(port));
    expect(service.stderr).toContain('HTTP_PORT');
    taken.close();
  });
});
