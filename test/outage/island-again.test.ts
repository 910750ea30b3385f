/** Jobs that run from the journal in several replicas, in outages that come again, and with a Redis that loses what it had. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Journal } from '../../src/journal/journal.ts';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import { cutOff, kill, ready, restored } from '../support/island.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue, startRuntime } from '../support/worker-runtime.ts';

let redis: RedisServer;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
});
afterEach(async () => {
  await redis.stop();
});

describe('island mode', () => {
  it('lets nobody who enqueues wait until Redis has what ended', async () => {
    const gate = Promise.withResolvers<void>();
    /** What ended is read from the journal when it goes to Redis, and not before. */
    const gated = (journal: Journal) =>
      new Proxy(journal, {
        get(real, name: keyof Journal) {
          const value = real[name];
          if (name !== 'read') return typeof value === 'function' ? value.bind(real) : value;
          return async function* (positions: Parameters<Journal['read']>[0]) {
            if (positions.length > 0) await gate.promise;
            yield* real.read(positions);
          };
        },
      });
    const definition = { queue: 'q', island: true, handler: (job: { name: string }) => job.name };
    await using test = await cutOff(redis, [definition], { journal: gated });
    const ended = await test.client.enqueue('q', 'ended', {});
    await test.line('job.completed', { jobId: ended.id });
    await redis.restart();
    await expect.poll(() => test.target.state().breaker, { timeout: 10_000 }).toBe('closed');
    await expect
      .poll(async () => (await test.client.enqueue('q', 'live', {})).stored)
      .toBe('redis');
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getCompletedCount()).toBeGreaterThan(0);
    expect(await queue.getJobState(ended.id)).toBe('unknown');
    gate.resolve();
    await expect.poll(() => queue.getJobState(ended.id)).toBe('completed');
    expect((await queue.getJob(ended.id))!.returnvalue).toBe('ended');
  });

  it('runs nothing twice with two replicas', async () => {
    const runs: string[] = [];
    const definition: WorkerDefinition = {
      queue: 'q',
      island: true,
      concurrency: 3,
      handler: async (job) => {
        runs.push(job.id!);
        await new Promise((resolve) => setTimeout(resolve, 5));
      },
    };
    await using one = await startRuntime(redis.url, [definition]);
    await using two = await startRuntime(redis.url, [definition]);
    await ready(one);
    await ready(two);
    await Promise.all([
      kill(redis, one),
      expect.poll(() => two.target.state().breaker).not.toBe('closed'),
    ]);
    const ids: string[] = [];
    const send = async (count: number) => {
      for (let i = 0; i < count; i += 1) {
        for (const { client } of [one, two]) ids.push((await client.enqueue('q', 'n', {})).id);
      }
    };
    await send(50);
    await redis.restart();
    await send(50);
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getCompletedCount(), { timeout: 20_000 }).toBe(ids.length);
    expect([...runs].sort()).toEqual([...ids].sort());
  });

  it('runs each job once through outages that come again and again', async () => {
    const runs: string[] = [];
    await using test = await startRuntime(redis.url, [
      {
        queue: 'q',
        island: true,
        concurrency: 4,
        attempts: 2,
        handler: async (job) => {
          runs.push(`${job.id} ${job.attemptsMade}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
          if (job.data.isHard && job.attemptsMade === 0) throw new Error('not yet');
        },
      },
    ]);
    await ready(test);
    const wanted: string[] = [];
    for (let round = 0; round < 4; round += 1) {
      const isOver = kill(redis, test);
      for (let i = 0; i < 30; i += 1) {
        const isHard = i % 5 === 0;
        const { id } = await test.client.enqueue('q', 'n', { isHard });
        wanted.push(`${id} 0`, ...(isHard ? [`${id} 1`] : []));
      }
      await isOver;
      // Back in the middle of the runs.
      const before = runs.length;
      await expect.poll(() => runs.length).toBeGreaterThan(before);
      await redis.restart();
      await expect.poll(() => test.target.state().breaker, { timeout: 15_000 }).toBe('closed');
    }
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getCompletedCount(), { timeout: 20_000 }).toBe(120);
    expect([...runs].sort()).toEqual(wanted.sort());
  });

  it('gives back what Redis had and lost again, and runs none of it twice', async () => {
    const runs: string[] = [];
    let finish!: () => void;
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    await using test = await startRuntime(redis.url, [
      {
        queue: 'q',
        island: true,
        concurrency: 2,
        handler: async (job) => {
          runs.push(job.id!);
          if (job.name === 'slow') await finished;
          return job.name;
        },
      },
    ]);
    await ready(test);
    const copy = redis.snapshotAof();
    await kill(redis, test);
    const slow = await test.client.enqueue('q', 'slow', {});
    const ids = [slow.id];
    for (let i = 0; i < 5; i += 1) ids.push((await test.client.enqueue('q', 'quick', {})).id);
    for (const jobId of ids.slice(1)) await test.line('job.completed', { jobId });

    await using queue = plainQueue(redis.url, 'q');
    await restored(redis, queue, ids.slice(1), 'completed');
    await expect.poll(() => test.target.state().breaker, { timeout: 10_000 }).toBe('closed');
    await redis.restartFrom(copy);
    finish();
    await expect
      .poll(() => Promise.all(ids.map((id) => queue.getJobState(id))), { timeout: 30_000 })
      .toEqual(ids.map(() => 'completed'));
    expect((await queue.getJob(slow.id))!.returnvalue).toBe('slow');
    expect(await queue.getJobCounts()).toMatchObject({ completed: 6, active: 0, waiting: 0 });
    expect([...runs].sort()).toEqual([...ids].sort());
  });
});
