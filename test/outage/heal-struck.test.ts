/**
 * A restart that lost the last moments, whose healing is struck by another outage: what the rollback undid
 * is known until it is healed, however long Redis was away.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Job, Queue, Worker } from 'bullmq';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

const QUEUE = 'healing';
/** Short, so that an outage outlives it. */
const WINDOW_MS = 300;
/** Locks that an outage outlives, and stalled checks that soon see it. */
const TIMES = { lockDuration: 1000, stalledInterval: 500 };
const PATIENCE = { timeout: 15_000, interval: 20 };

let server: RedisServer;
let proxy: TcpProxy;
let queue: Queue;
let target: TestTarget;
let worker: Worker | undefined;
/** Called before outcomes that were replayed leave the journal: after the replay, before the healing. */
let onReplayed: () => void;

beforeEach(async () => {
  server = await startRedis({ aof: 'always' });
  proxy = await startProxy(server.port);
  queue = new Queue(QUEUE, { connection: { host: server.host, port: server.port } });
  queue.on('error', () => undefined);
  onReplayed = () => undefined;
  target = await startTarget(proxy.url, {
    resilience: { pulseIntervalMs: 150, pulseTimeoutMs: 600, rollbackWindowMs: WINDOW_MS },
  });
  const { journal } = target;
  const settle = journal.settle.bind(journal);
  journal.settle = async (positions) => {
    onReplayed();
    await settle(positions);
  };
});
afterEach(async () => {
  await worker?.close(true);
  await target.stop(systemClock.now() + 1000);
  await queue.close();
  await proxy.stop();
  await server.stop();
});

it('runs nothing again when the way back is cut between replaying and healing', async () => {
  const runs: string[] = [];
  const ends = { settled: Promise.withResolvers<void>(), owed: Promise.withResolvers<void>() };
  const { connection, backendFactory } = target;
  worker = new Worker(
    QUEUE,
    async (job: Job) => {
      runs.push(job.id!);
      await ends[job.id as keyof typeof ends].promise;
    },
    { connection, concurrency: 2, ...TIMES },
    backendFactory,
  );
  worker.on('error', () => undefined);
  await queue.add('job', {}, { jobId: 'settled' });
  await queue.add('job', {}, { jobId: 'owed' });
  await expect.poll(() => runs.length, PATIENCE).toBe(2);
  const before = server.snapshotAof();
  ends.settled.resolve();
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);
  await server.kill();
  await expect.poll(() => target.generation(), PATIENCE).toBeUndefined();
  ends.owed.resolve();
  await sleep(2 * WINDOW_MS);

  const struck = Promise.withResolvers<void>();
  onReplayed = () => {
    onReplayed = () => undefined;
    void proxy.refuse();
    proxy.reset();
    struck.resolve();
  };
  await server.restartFrom(before);
  await struck.promise;
  await proxy.heal();
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(2);
  expect(runs).toEqual(['settled', 'owed']);
});
