/** Quiet queues of one process wait in one blocking read, and lose nothing by it. */
import { Queue, Worker } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

const QUEUES = ['a', 'b', 'c'];
/** A read is told to be idle after its first whole slice; then the queue joins. */
const SHARED_WITHIN = { timeout: 15_000, interval: 50 };

let server: RedisServer;
let proxy: TcpProxy;
let target: TestTarget;
let workers: Worker[];
let queues: Queue[];
let done: string[];

beforeEach(async () => {
  server = await startRedis();
  proxy = await startProxy(server.port);
  target = await startTarget(proxy.url, { quietAfterMs: 0 });
  done = [];
  workers = QUEUES.map(
    (name) =>
      new Worker(
        name,
        async ({ data }) => void done.push(`${name}${data}`),
        { connection: target.connection },
        target.backendFactory,
      ),
  );
  for (const worker of workers) worker.on('error', () => undefined);
  queues = QUEUES.map((name) => new Queue(name, { connection: { port: server.port } }));
  for (const queue of queues) queue.on('error', () => undefined);
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close(true)));
  await Promise.all(queues.map((queue) => queue.close()));
  await target.stop(systemClock.now() + 500);
  await proxy.stop();
  await server.stop();
});

const blockedReads = async () =>
  `${await server.command('CLIENT', 'LIST')}`.match(/flags=b\S* .*cmd=bzpopmin/g)?.length ?? 0;
const shareOneRead = () => expect.poll(blockedReads, SHARED_WITHIN).toBe(1);
const addToAll = (data: number) => Promise.all(queues.map((queue) => queue.add('x', data)));
const haveRun = (data: number) =>
  expect
    .poll(() => done.filter((name) => name.endsWith(`${data}`)).sort(), { timeout: 15_000 })
    .toEqual(QUEUES.map((name) => `${name}${data}`));

describe('queues without jobs', () => {
  it('share one blocking read, and each takes its jobs from it', async () => {
    await shareOneRead();
    await addToAll(1);
    await haveRun(1);
    await queues[1]!.add('x', 2);
    await expect.poll(() => done).toContain('b2');
    await shareOneRead();
    await addToAll(3);
    await haveRun(3);
  });

  it('leave the markers of a worker that was closed to others', async () => {
    await shareOneRead();
    await workers[0]!.close();
    await queues[0]!.add('x', 1);
    await expect.poll(() => server.command('ZCARD', 'bull:a:marker')).toBe(1);
    await queues[1]!.add('x', 1);
    await expect.poll(() => done).toEqual(['b1']);
    expect(await server.command('ZCARD', 'bull:a:marker')).toBe(1);
  });

  it('come back from a kill, and from a connection that fell silent', async () => {
    await shareOneRead();
    await server.kill();
    await expect.poll(() => target.state().breaker).not.toBe('closed');
    await server.restart();
    await expect.poll(() => target.state().breaker, { timeout: 15_000 }).toBe('closed');
    await addToAll(1);
    await haveRun(1);
    await shareOneRead();
    for (const connection of proxy.connections()) {
      if (/bzpopmin/i.test(connection.recentRequests())) connection.blackHole({ forever: true });
    }
    await addToAll(2);
    await haveRun(2);
  });
});
