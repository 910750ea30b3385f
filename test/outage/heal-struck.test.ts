/**
 * A restart that lost the last moments, and a way back that another outage cuts off: what the rollback undid
 * is known until it is healed, and who was there before the first outage is waited for, however long it takes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Job, Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { ALIVE_MS } from '../../src/queue/heartbeat.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';
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
    proxy.cut();
    struck.resolve();
  };
  await server.restartFrom(before);
  await struck.promise;
  await proxy.heal();
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(2);
  expect(runs).toEqual(['settled', 'owed']);
});

/** A replica that consumes the queue and shows life, and a client that sees what the fleet has in Redis. */
function member(): { client: Redis; ledger: QueueLedger } {
  const { connection, backendFactory } = target;
  worker = new Worker(QUEUE, async () => undefined, { connection, ...TIMES }, backendFactory);
  worker.on('error', () => undefined);
  const client = new Redis(server.url);
  client.on('error', () => undefined);
  onTestFinished(() => client.disconnect());
  return { client, ledger: new QueueLedger('bull', QUEUE) };
}

it('waits for a replica that was alive before the outage though the way back was cut once', async () => {
  const { client, ledger } = member();
  await expect.poll(() => client.zcard(ledger.key('members')), PATIENCE).toBe(1);
  // Another replica, whose last sign of life is as old as one may be that counts as alive.
  const [seconds] = await client.time();
  const seenAt = Number(seconds) * 1000 - ALIVE_MS + 2000;
  await client.zadd(ledger.key('members'), seenAt, 'other');

  const { journal } = target;
  // Only a journal that others may leave is looked for in a recovery.
  Object.defineProperty(journal, 'durable', { value: true });
  const adoptOrphans = journal.adoptOrphans.bind(journal);
  const struck = Promise.withResolvers<void>();
  journal.adoptOrphans = async () => {
    journal.adoptOrphans = adoptOrphans;
    proxy.cut();
    await vi.waitFor(() => expect(target.state().breaker).toBe('open'), PATIENCE);
    struck.resolve();
    return [];
  };
  await server.kill();
  await sleep(2500);
  await server.restart();
  await struck.promise;
  await proxy.heal();
  await expect.poll(() => target.generation(), PATIENCE).toBeDefined();
  const waitsFrom = await client.hget(ledger.key('barrier:server'), 'aliveFrom');
  expect(Number(waitsFrom)).toBeLessThanOrEqual(seenAt);
});

it('waits for as long as a large fleet may take to come back', async () => {
  const { client, ledger } = member();
  const seen = () => client.zscore(ledger.key('members'), target.processId);
  await expect.poll(seen, PATIENCE).not.toBeNull();
  const [seconds] = await client.time();
  const aliveAt = Number(seconds) * 1000 + 60_000;
  const others = Array.from({ length: 999 }, (_, n) => [aliveAt, `other-${n}`]).flat();
  await client.zadd(ledger.key('members'), ...others);
  // Its next sign of life tells it how many they are.
  const before = await seen();
  await expect.poll(seen, PATIENCE).not.toBe(before);
  await client.ping();

  await server.restart();
  await expect.poll(() => client.exists(ledger.key('barrier')), PATIENCE).toBe(1);
  // A thousand replicas with a budget of a thousand attempts a second pause for up to 2.3 s each.
  expect(await client.pttl(ledger.key('barrier'))).toBeGreaterThan(2300);
});
