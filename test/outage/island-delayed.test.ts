/** Delayed jobs that fall due while a real Redis is dead, or when it is back. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cutOff, restored } from '../support/island.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue } from '../support/worker-runtime.ts';

let redis: RedisServer;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
});
afterEach(async () => {
  await redis.stop();
});

describe('delayed jobs in island mode', () => {
  it('runs delayed jobs at their time and not before, with their priority and their attempts', async () => {
    const runs: { name: string; at: number; delay: number }[] = [];
    await using test = await cutOff(redis, [
      {
        queue: 'q',
        island: true,
        attempts: 2,
        handler: async (job) => {
          runs.push({ name: `${job.name} ${job.attemptsMade}`, at: Date.now(), delay: job.delay });
          if (job.name === 'twice' && job.attemptsMade === 0) throw new Error('not yet');
          return job.name;
        },
      },
    ]);
    const acceptedAt = Date.now();
    const one = await test.client.enqueue('q', 'one', {}, { delay: 900 });
    const twice = await test.client.enqueue('q', 'twice', {}, { delay: 300, backoff: 200 });
    const urgent = await test.client.enqueue('q', 'urgent', {}, { delay: 600, priority: 2 });
    for (const { id } of [one, twice, urgent]) await test.line('job.completed', { jobId: id });
    expect(test.target.state().breaker).not.toBe('closed');
    expect(runs.map(({ name }) => name)).toEqual(['twice 0', 'twice 1', 'urgent 0', 'one 0']);
    const dues = [300, 500, 600, 900];
    for (const [i, { at, delay }] of runs.entries()) {
      expect(at).toBeGreaterThanOrEqual(acceptedAt + dues[i]! - 1);
      expect(delay).toBe(0);
    }
    const ids = [one.id, twice.id, urgent.id];
    await using queue = plainQueue(redis.url, 'q');
    await restored(redis, queue, ids, 'completed');
    expect(await queue.getJobCounts()).toMatchObject({ completed: 3, delayed: 0, active: 0 });
    const job = (await queue.getJob(urgent.id))!;
    expect([job.delay, job.opts.delay, job.priority, job.attemptsMade]).toEqual([0, 600, 2, 1]);
    expect((await queue.getJob(twice.id))!.attemptsMade).toBe(2);
    expect(runs).toHaveLength(4);
  });

  it('gives a delayed job to Redis that is back before its time, and it runs then', async () => {
    const runs: { name: string; at: number }[] = [];
    await using test = await cutOff(redis, [
      {
        queue: 'q',
        island: true,
        handler: (job) => void runs.push({ name: job.name, at: Date.now() }),
      },
    ]);
    const acceptedAt = Date.now();
    const { id } = await test.client.enqueue('q', 'later', {}, { delay: 6000 });
    const soon = await test.client.enqueue('q', 'soon', {}, { delay: 100 });
    await test.line('job.completed', { jobId: soon.id });
    await using queue = plainQueue(redis.url, 'q');
    await redis.restart();
    await expect.poll(() => queue.getJobState(id), { timeout: 5000 }).toBe('delayed');
    await expect.poll(() => queue.getJobState(soon.id)).toBe('completed');
    await test.line('job.completed', { jobId: id });
    expect(runs.map(({ name }) => name)).toEqual(['soon', 'later']);
    expect(runs[1]!.at).toBeGreaterThanOrEqual(acceptedAt + 6000 - 1);
    await expect.poll(() => queue.getJobCounts()).toMatchObject({ completed: 2, delayed: 0 });
    expect(runs).toHaveLength(2);
  });
});
