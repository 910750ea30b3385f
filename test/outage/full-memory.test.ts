/** A memory that is full and is freed again: outcomes pass while it is full, and wait while the way back is made. */
import { type Job, Queue, Worker } from 'bullmq';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

const PATIENCE = { timeout: 15_000, interval: 20 };

let server: RedisServer;
let queue: Queue;
let target: TestTarget;
let worker: Worker;
let conditions: (string | undefined)[];
let ends: Record<string, PromiseWithResolvers<void>>;

beforeEach(async () => {
  server = await startRedis();
  queue = new Queue('full', { connection: { host: server.host, port: server.port } });
  target = await startTarget(server.url, {
    resilience: { pulseIntervalMs: 150, pulseTimeoutMs: 600 },
  });
  conditions = [];
  target.onChange(({ condition }) => conditions.push(condition));
  ends = { a: Promise.withResolvers(), b: Promise.withResolvers() };
  const { connection, backendFactory } = target;
  worker = new Worker(
    'full',
    (job: Job) => ends[job.name]!.promise,
    { connection, concurrency: 2 },
    backendFactory,
  );
  worker.on('error', () => undefined);
  await queue.addBulk([
    { name: 'a', data: {} },
    { name: 'b', data: {} },
  ]);
  await expect.poll(() => queue.getActiveCount(), PATIENCE).toBe(2);
});
afterEach(async () => {
  await worker.close(true);
  await target.stop(systemClock.now() + 1000);
  await queue.close();
  await server.stop();
});

it('takes no outcome in the middle of the way back, and calls no data lost', async () => {
  const { journal } = target;
  const append = journal.append.bind(journal);
  // Only a journal that others may leave is looked for in a recovery.
  Object.defineProperty(journal, 'durable', { value: true });
  const adoptOrphans = journal.adoptOrphans.bind(journal);
  const journaled = Promise.withResolvers<void>();
  const lost = new Promise<void>((resolve) => {
    target.onChange(({ condition }) => condition === 'data-lost' && resolve());
  });
  await server.command('CONFIG', 'SET', 'maxmemory', '1');
  await expect.poll(() => target.state().condition, PATIENCE).toBe('out-of-memory');
  ends.a!.resolve();
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);

  journal.append = (entry) => {
    journaled.resolve();
    return append(entry);
  };
  // Called when the probe has passed, before anything is taken back.
  journal.adoptOrphans = async () => {
    journal.adoptOrphans = adoptOrphans;
    ends.b!.resolve();
    await Promise.race([journaled.promise, lost]);
    return await adoptOrphans();
  };
  await server.command('CONFIG', 'SET', 'maxmemory', '0');
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(2);
  await expect.poll(() => target.generation(), PATIENCE).toBeDefined();
  expect(conditions).not.toContain('data-lost');
});
