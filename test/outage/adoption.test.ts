/**
 * A replica that met an outage alone and never came back, beside one whose Redis was never away: what the
 * first had finished and accepted comes to Redis through the second.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Job, Queue, Worker } from 'bullmq';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';
import { plainQueue } from '../support/worker-runtime.ts';

const QUICK = { pulseIntervalMs: 150, pulseTimeoutMs: 600 };
/** Longer than it takes to cut a replica off and to end it. */
const TIMES = { lockDuration: 4000, stalledInterval: 1000 };

let redis: RedisServer;
let proxy: TcpProxy;
let folder: string;
let lone: TestTarget;
let other: TestTarget;
let closing: Worker[];
/** Names of the jobs that began, with the replica. */
let runs: string[];
/** States of the other's breaker since its first connection. */
let moves: string[];

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
  proxy = await startProxy(redis.port);
  folder = mkdtempSync(join(tmpdir(), 'holdfast-adoption-'));
  closing = [];
  runs = [];
  moves = [];
});
afterEach(async () => {
  await Promise.all(closing.map((worker) => worker.close(true)));
  await other.stop(systemClock.now() + 1000);
  await proxy.stop();
  await redis.stop();
  rmSync(folder, { recursive: true });
});

async function start(adoptEveryMs: number, more = {}): Promise<void> {
  const resilience = { ...QUICK, ...more };
  const common = { journalDir: folder, resilience, adoptEveryMs };
  lone = await startTarget(proxy.url, { ...common, replica: 'lone' });
  other = await startTarget(redis.url, { ...common, replica: 'other' });
  await closed(lone);
  await closed(other);
  other.onChange(({ breaker }) => moves.push(breaker));
}

async function closed(target: TestTarget): Promise<void> {
  await expect.poll(() => target.state().breaker).toBe('closed');
}

async function cutOff(): Promise<void> {
  proxy.blackHole();
  await expect.poll(() => lone.state().breaker).not.toBe('closed');
}

/** As after a SIGKILL: its journal is all that is left of it. */
async function die(workers: Worker[] = []): Promise<void> {
  await Promise.all(workers.map((worker) => worker.close(true)));
  await lone.stop(systemClock.now());
}

function startWorker(target: TestTarget, replica: string, until: Promise<void>): Worker {
  const worker = new Worker(
    'q',
    async (job: Job) => {
      runs.push(`${job.name} ${replica}`);
      await until;
      return replica;
    },
    { connection: target.connection, concurrency: 3, ...TIMES },
    target.backendFactory,
  );
  worker.on('error', () => undefined);
  return worker;
}

function producer(target: TestTarget): Queue {
  const queue = new Queue('q', { connection: target.connection }, target.producerFactory);
  queue.on('error', () => undefined);
  return queue;
}

it('runs nothing again that the first had finished', async () => {
  // None but the stalled check looks for its journal.
  await start(3_600_000);
  const { promise, resolve } = Promise.withResolvers<void>();
  const first = startWorker(lone, 'lone', promise);
  await using queue = plainQueue(redis.url, 'q');
  for (const name of ['a', 'b', 'c']) await queue.add(name, {});
  await expect.poll(() => runs.length).toBe(3);
  closing.push(startWorker(other, 'other', Promise.resolve()));
  await cutOff();
  resolve();
  await expect.poll(() => lone.journal.stats().outcomes).toBe(3);
  await die([first]);
  await expect
    .poll(() => queue.getJobCounts('completed', 'active'))
    .toEqual({ completed: 3, active: 0 });
  expect(runs).toEqual(['a lone', 'b lone', 'c lone']);
  expect((await queue.getCompleted()).map(({ returnvalue }) => returnvalue)).toEqual(
    Array(3).fill('lone'),
  );
  expect(moves).toEqual([]);
});

it('adds what the first had accepted, once and in order', async () => {
  await start(200);
  const accepting = producer(lone);
  await cutOff();
  for (const name of ['a', 'b', 'c']) await accepting.add(name, {});
  await die();
  await using queue = plainQueue(redis.url, 'q');
  await expect.poll(() => queue.getWaitingCount()).toBe(3);
  expect((await queue.getWaiting(0, -1)).map(({ name }) => name).sort()).toEqual(['a', 'b', 'c']);
  // New jobs go straight to Redis again, and behind those.
  await producer(other).add('d', {});
  closing.push(startWorker(other, 'other', Promise.resolve()));
  await expect.poll(() => queue.getCompletedCount()).toBe(4);
  expect(runs).toEqual(['a other', 'b other', 'c other', 'd other']);
  expect(moves).toEqual([]);
});

it('runs nothing again that the first had accepted and run from its journal', async () => {
  await start(200, { rollbackWindowMs: 500 });
  lone.setIsland('q');
  const first = startWorker(lone, 'lone', Promise.resolve());
  const accepting = producer(lone);
  // The look at the queue's keys follows at once: round trips are behind it.
  await lone.generation()!.client.ping();
  await lone.generation()!.client.ping();
  await cutOff();
  for (const name of ['a', 'b', 'c']) await accepting.add(name, {});
  await expect.poll(() => lone.journal.stats().outcomes).toBe(3);
  closing.push(startWorker(other, 'other', Promise.resolve()));
  await die([first]);
  await using queue = plainQueue(redis.url, 'q');
  await expect.poll(() => queue.getCompletedCount()).toBe(3);
  await expect.poll(() => other.journal.stats().outcomes).toBe(0);
  expect(runs).toEqual(['a lone', 'b lone', 'c lone']);
  expect(moves).toEqual([]);
});
