/** Locks of running jobs where BullMQ's own renewal does not come, and jobs that have yet to start. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type RedisQueueBackend, Worker } from 'bullmq';
import { afterEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { proxiedRedis } from '../support/proxied-redis.ts';
import { startTarget } from '../support/target.ts';
import { plainQueue, startRuntime } from '../support/worker-runtime.ts';

const HOUR_MS = 3_600_000;
const LOCK_MS = 1000;
const TIMES = { lockDurationMs: LOCK_MS, stalledIntervalMs: 250 };

const place = proxiedRedis();
afterEach(() => {
  vi.restoreAllMocks();
});

it('of jobs of several locks’ length are renewed when the host’s clock was set back by an hour', async () => {
  await using queue = plainQueue(place.server.url, 'q');
  const runs: string[] = [];
  const begun = Promise.withResolvers<void>();
  const definition = {
    queue: 'q',
    handler: async (job: { id?: string | undefined }) => {
      runs.push(job.id!);
      if (runs.length === 6) begun.resolve();
      await sleep(4 * LOCK_MS);
    },
  };
  await using one = await startRuntime(place.server.url, [definition], { config: TIMES });
  await using other = await startRuntime(place.server.url, [definition], { config: TIMES });
  for (let n = 0; n < 6; n++) await queue.add('x', {});
  await begun.promise;
  const now = Date.now;
  vi.spyOn(Date, 'now').mockImplementation(() => now() - HOUR_MS);
  await expect.poll(() => queue.getCompletedCount()).toBe(6);
  expect(runs).toHaveLength(6);
  expect([one, other].flatMap(({ lines }) => lines.map(({ event }) => event))).not.toContain(
    'lock.lost',
  );
});

it('of a job whose earlier run ends are renewed for the run that has it', async () => {
  await using queue = plainQueue(place.server.url, 'q');
  const runs: string[] = [];
  const first = Promise.withResolvers<void>();
  const definition = {
    queue: 'q',
    concurrency: 2,
    handler: async (job: { name: string }) => {
      runs.push(job.name);
      await (runs.length === 1 ? first.promise : sleep(4 * LOCK_MS));
    },
  };
  const begun = (names: string[]) => expect.poll(() => runs).toEqual(names);
  await using _busy = await startRuntime(place.server.url, [definition], { config: TIMES });
  const { id } = await queue.add('twice', {});
  await begun(['twice']);
  // Another worker had it meanwhile, and it waits for its next attempt.
  await place.server.command('HINCRBY', `bull:q:${id}`, 'ats', 1);
  await place.server.command('DEL', `bull:q:${id}:lock`);
  await place.server.command('LREM', 'bull:q:active', 0, id!);
  await place.server.command('RPUSH', 'bull:q:wait', id!);
  await place.server.command('ZADD', 'bull:q:marker', 0, '0');
  await begun(['twice', 'twice']);
  first.resolve();
  // No slot is free where it runs: a lock that expires is another's to take.
  await queue.add('other', {});
  await begun(['twice', 'twice', 'other']);
  await using _free = await startRuntime(place.server.url, [definition], { config: TIMES });
  await expect.poll(() => queue.getCompletedCount()).toBe(2);
  expect(runs).toEqual(['twice', 'twice', 'other']);
});

it('of a job that is about to start are kept through an outage in the fetch that took it', async () => {
  await using queue = plainQueue(place.server.url, 'q');
  const runs: string[] = [];
  const target = await startTarget(place.proxy.url);
  const worker = new Worker(
    'q',
    async ({ name }) => void runs.push(name),
    {
      connection: target.connection,
      concurrency: 2,
      lockDuration: 2 * LOCK_MS,
      autorun: false,
    },
    target.backendFactory,
  );
  worker.on('error', () => undefined);
  const backend = worker.getBackend() as RedisQueueBackend;
  const update = backend.updateJobSchedulerNextMillis.bind(backend);
  const taken = Promise.withResolvers<void>();
  backend.updateJobSchedulerNextMillis = async (...args) => {
    backend.updateJobSchedulerNextMillis = update;
    place.proxy.cut();
    taken.resolve();
    return await update(...args);
  };
  await queue.add('plain', {});
  await queue.upsertJobScheduler('s', { every: HOUR_MS }, { name: 'scheduled' });
  void worker.run();
  await taken.promise;
  // Three times a lock's life: who has not started by then was dropped, as a rule.
  await sleep(7 * LOCK_MS);
  await place.proxy.heal();
  await expect.poll(() => runs.length).toBe(2);
  await expect
    .poll(() => queue.getJobCounts('completed', 'waiting', 'active'))
    .toEqual({ completed: 2, waiting: 0, active: 0 });
  expect(runs.sort()).toEqual(['plain', 'scheduled']);
  await worker.close();
  await target.stop(systemClock.now() + 1000);
});
