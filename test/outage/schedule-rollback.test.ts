/**
 * A schedule through a restart that lost the last moments: the chain of its runs, each of which makes
 * the next one, is where a rollback hurts most. It goes on, and no run of it is run again.
 */
import { EventEmitter, once } from 'node:events';
import { type Job, Queue, Worker } from 'bullmq';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

const QUICK = { pulseIntervalMs: 150, pulseTimeoutMs: 600 };
const PATIENCE = { timeout: 15_000, interval: 20 };

let server: RedisServer;
let queue: Queue;
let targets: TestTarget[];
let workers: Worker[];

beforeEach(async () => {
  server = await startRedis({ aof: 'always' });
  queue = new Queue('rounds', { connection: { host: server.host, port: server.port } });
  queue.on('error', () => undefined);
  targets = [];
  workers = [];
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close(true)));
  await Promise.all(targets.map((target) => target.stop(systemClock.now() + 1000)));
  await queue.close();
  await server.stop();
});

async function startWorker(handler: (job: Job) => Promise<void>): Promise<void> {
  const target = await startTarget(server.url, { resilience: QUICK });
  targets.push(target);
  const { connection, backendFactory } = target;
  const worker = new Worker('rounds', handler, { connection, drainDelay: 1 }, backendFactory);
  worker.on('error', () => undefined);
  workers.push(worker);
}

it('goes on when a run that it began is still running, and its beginning is forgotten', async () => {
  const runs: string[] = [];
  const released = Promise.withResolvers<void>();
  await queue.upsertJobScheduler('round', { every: 1000 });
  const before = server.snapshotAof();
  await startWorker(async (job) => {
    runs.push(job.id!);
    if (runs.length === 1) await released.promise;
  });
  // It has begun, and so the next one is made.
  await expect.poll(() => runs.length, PATIENCE).toBe(1);
  await expect.poll(() => queue.getDelayedCount(), PATIENCE).toBe(1);
  await server.restartFrom(before);
  await expect.poll(() => queue.getActiveCount(), PATIENCE).toBe(1);
  released.resolve();
  await expect.poll(() => runs.length, PATIENCE).toBeGreaterThanOrEqual(3);
  expect(runs).toEqual([...new Set(runs)]);
});

it('goes on, and repeats none of several runs that two workers did and Redis forgot', async () => {
  const runs: { id: string; worker: number }[] = [];
  const begun = new EventEmitter();
  for (const worker of [0, 1]) {
    await startWorker(async (job) => {
      runs.push({ id: job.id!, worker });
      begun.emit('run');
      // Until the next one begins, which the other worker must take then.
      await once(begun, 'run');
    });
  }
  await queue.upsertJobScheduler('round', { every: 300 });
  await expect.poll(() => runs.length, PATIENCE).toBeGreaterThanOrEqual(2);
  const before = server.snapshotAof();
  const known = runs.length;
  await expect.poll(() => runs.length, PATIENCE).toBeGreaterThanOrEqual(known + 4);
  expect(new Set(runs.slice(known).map(({ worker }) => worker)).size).toBe(2);
  await server.restartFrom(before);
  const afterwards = runs.length;
  await expect.poll(() => runs.length, PATIENCE).toBeGreaterThanOrEqual(afterwards + 3);
  begun.emit('run');
  const ids = runs.map(({ id }) => id);
  expect(ids).toEqual([...new Set(ids)]);
});
