/**
 * Fleets in which not all are alike: a plain BullMQ worker beside ours through a freeze, and a job id
 * that is used again while the replica that ran it is cut off.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import pino from 'pino';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/redis-server.ts';
import { startTarget } from '../support/target.ts';

/** Shortened so that an outage outlives locks and checks in seconds; the mechanism is the same. */
const SHORT = { lockDuration: 2000, stalledInterval: 1000 };

it('runs no live job twice when a plain worker checks for stalled jobs around a freeze', async () => {
  const server = await startRedis();
  const connection = { host: server.host, port: server.port };
  const target = await startTarget(server.url);
  const runs = new Map<string, number>();
  const run = (name: string) => async (job: { id?: string; data: { ms: number } }) => {
    runs.set(job.id!, (runs.get(job.id!) ?? 0) + 1);
    await sleep(job.data.ms);
    return name;
  };
  const ours = new Worker(
    'mixed',
    run('ours'),
    { connection: target.connection, concurrency: 10, ...SHORT },
    target.backendFactory,
  );
  const queue = new Queue('mixed', { connection });
  await queue.addBulk(
    Array.from({ length: 10 }, (_, n) => ({ name: 'long', data: { n, ms: 9000 } })),
  );
  await expect.poll(() => runs.size, { timeout: 5000 }).toBe(10);
  // Only now: the plain worker gets what comes later, and looks for stalled jobs all the time.
  const plain = new Worker('mixed', run('plain'), { connection, concurrency: 10, ...SHORT });
  plain.on('error', () => undefined);
  ours.on('error', () => undefined);
  await plain.waitUntilReady();
  const admin = new Redis(server.url);
  await admin.del('bull:mixed:holdfast:stalled-check');
  await sleep(SHORT.stalledInterval);
  await server.freeze();
  await sleep(4500);
  await server.thaw();
  await expect
    .poll(async () => await queue.getCompletedCount(), { timeout: 20_000, interval: 200 })
    .toBe(10);
  expect([...runs.values()]).toEqual(Array(10).fill(1));
  for (const job of await queue.getCompleted()) expect(job.returnvalue).toBe('ours');
  await Promise.all([ours.close(), plain.close(), queue.close()]);
  admin.disconnect();
  await target.stop(systemClock.now() + 1000);
  await server.stop();
}, 60_000);

it('leaves alone a new job that bears the id of the one it ran when it was cut off', async () => {
  const server = await startRedis();
  const proxy = await startProxy(server.port);
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'info' }, { write: (line) => lines.push(JSON.parse(line)) });
  const alone = await startTarget(proxy.url, { log });
  const other = await startTarget(server.url);
  const ran: string[] = [];
  const started = Promise.withResolvers<void>();
  const cutOff = new Worker(
    'reused',
    async (job) => {
      ran.push(`alone ${job.data.day}`);
      started.resolve();
      await sleep(9000);
      return 'alone';
    },
    { connection: alone.connection, ...SHORT },
    alone.backendFactory,
  );
  const queue = new Queue('reused', { connection: { host: server.host, port: server.port } });
  const daily = (day: number) =>
    queue.add('daily', { day }, { jobId: 'daily', removeOnComplete: true });
  await daily(1);
  await started.promise;
  const healthy = new Worker(
    'reused',
    async (job) => {
      ran.push(`other ${job.data.day}`);
      await sleep(job.data.day === 1 ? 100 : 4000);
      return 'other';
    },
    { connection: other.connection, ...SHORT },
    other.backendFactory,
  );
  cutOff.on('error', () => undefined);
  healthy.on('error', () => undefined);
  proxy.blackHole({ existing: true, new: true });
  // Its lock expires, the other replica rightly runs the job, and it is removed.
  await expect.poll(() => ran.includes('other 1'), { timeout: 15_000 }).toBe(true);
  await expect.poll(async () => await queue.getJob('daily')).toBeUndefined();
  await daily(2);
  await expect.poll(() => ran.includes('other 2')).toBe(true);
  await expect
    .poll(() => lines.map(({ event }) => event), { timeout: 5000 })
    .toContain('outage.opened');
  await proxy.heal();
  await expect
    .poll(() => lines.map(({ event }) => event), { timeout: 15_000 })
    .toContain('outage.closed');
  await expect.poll(async () => await queue.getJob('daily'), { timeout: 15_000 }).toBeUndefined();
  await expect
    .poll(() => lines.some(({ event }) => event === 'outcome.dropped' || event === 'lock.lost'))
    .toBe(true);
  expect(ran).toEqual(['alone 1', 'other 1', 'other 2']);
  await Promise.all([cutOff.close(), healthy.close(), queue.close()]);
  for (const target of [alone, other]) await target.stop(systemClock.now() + 1000);
  await proxy.stop();
  await server.stop();
}, 90_000);
