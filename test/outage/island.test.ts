/** Jobs that run from the journal while a real Redis is dead, and what Redis says of them afterwards. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cutOff, restored } from '../support/island.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue } from '../support/worker-runtime.ts';

/** So long the journal keeps what Redis has. */
const BRIEF_WINDOW = { resilience: { rollbackWindowMs: 300 } };

let redis: RedisServer;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
});
afterEach(async () => {
  await redis.stop();
});

describe('island mode', () => {
  it('runs what it accepted while Redis is away, and Redis has result, log and times afterwards', async () => {
    const runs: string[] = [];
    await using test = await cutOff(
      redis,
      [
        {
          queue: 'q',
          island: true,
          concurrency: 2,
          handler: async (job) => {
            runs.push(job.id!);
            await job.log(`line of ${job.data.i}`);
            await job.updateProgress(50);
            return { i: job.data.i };
          },
        },
      ],
      BRIEF_WINDOW,
    );
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) {
      const { id, stored } = await test.client.enqueue('q', 'n', { i });
      expect(stored).toBe('journal');
      ids.push(id);
    }
    await expect.poll(() => runs.length).toBe(5);
    for (const jobId of ids) await test.line('job.completed', { jobId });
    const endedAt = Date.now();
    expect(runs).toEqual(ids);
    expect(test.target.state().breaker).not.toBe('closed');
    expect(await test.client.job('q', ids[3]!)).toMatchObject({
      state: 'completed',
      stored: 'journal',
      progress: 50,
      result: { i: 3 },
      attemptsMade: 1,
      startedAt: expect.any(Number),
      finishedAt: expect.any(Number),
    });

    await using queue = plainQueue(redis.url, 'q');
    await restored(redis, queue, ids, 'completed');
    for (const [i, id] of ids.entries()) {
      const job = (await queue.getJob(id))!;
      expect(job.returnvalue).toEqual({ i });
      expect(job.progress).toBe(50);
      expect(job.attemptsMade).toBe(1);
      expect((await queue.getJobLogs(id)).logs).toEqual([`line of ${i}`]);
      expect(job.timestamp).toBeLessThanOrEqual(job.processedOn!);
      expect(job.processedOn).toBeLessThanOrEqual(job.finishedOn!);
      expect(job.finishedOn).toBeLessThanOrEqual(endedAt);
    }
    const after = await test.client.enqueue('q', 'n', { i: 9 });
    await test.line('job.completed', { jobId: after.id });
    expect(runs).toEqual([...ids, after.id]);
    await expect.poll(() => test.target.journal.stats().entries).toBe(0);
  });

  it('repeats attempts with their backoff, and fails what fails each time', async () => {
    const attempts: number[] = [];
    await using test = await cutOff(redis, [
      {
        queue: 'q',
        island: true,
        attempts: 3,
        backoff: 50,
        handler: (job) => {
          attempts.push(job.attemptsMade);
          throw new Error(`attempt ${job.attemptsMade + 1}`);
        },
      },
    ]);
    const { id } = await test.client.enqueue('q', 'n', {});
    await test.line('job.failed', { jobId: id });
    expect(attempts).toEqual([0, 1, 2]);
    expect(await test.client.job('q', id)).toMatchObject({
      state: 'failed',
      stored: 'journal',
      failedReason: 'attempt 3',
      attemptsMade: 3,
    });
    await using queue = plainQueue(redis.url, 'q');
    await restored(redis, queue, [id], 'failed');
    const job = (await queue.getJob(id))!;
    expect(job.failedReason).toBe('attempt 3');
    expect(job.attemptsMade).toBe(3);
    expect(job.stacktrace).toHaveLength(3);
    expect(attempts).toEqual([0, 1, 2]);
  });

  it('goes on in Redis with a run and with a backoff that Redis finds under way', async () => {
    let finish!: () => void;
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const runs: string[] = [];
    await using test = await cutOff(redis, [
      {
        queue: 'q',
        island: true,
        concurrency: 2,
        attempts: 2,
        backoff: 3000,
        handler: async (job) => {
          runs.push(`${job.name} ${job.attemptsMade}`);
          if (job.name === 'slow') await finished;
          else if (job.attemptsMade === 0) throw new Error('not yet');
          return job.name;
        },
      },
    ]);
    const slow = await test.client.enqueue('q', 'slow', {});
    const twice = await test.client.enqueue('q', 'twice', {});
    await test.line('job.retried', { jobId: twice.id });
    expect(await test.client.job('q', slow.id)).toMatchObject({ state: 'active', progress: 0 });
    await expect
      .poll(() => test.client.job('q', twice.id))
      .toMatchObject({ state: 'delayed', failedReason: 'not yet', attemptsMade: 1 });
    await using queue = plainQueue(redis.url, 'q');
    await redis.restart();
    await expect.poll(() => queue.getJobState(slow.id), { timeout: 10_000 }).toBe('active');
    expect((await queue.getJob(slow.id))!.processedOn).toBeGreaterThan(0);
    finish();
    for (const id of [slow.id, twice.id]) {
      await expect.poll(() => queue.getJobState(id), { timeout: 10_000 }).toBe('completed');
    }
    expect(runs.sort()).toEqual(['slow 0', 'twice 0', 'twice 1']);
  });

  it('shows the next attempt what the one before wrote into its job', async () => {
    const seen: unknown[] = [];
    await using test = await cutOff(redis, [
      {
        queue: 'q',
        island: true,
        attempts: 2,
        handler: async (job) => {
          seen.push([job.data, job.progress]);
          if (job.attemptsMade > 0) return 'done';
          await job.log('first');
          await job.updateProgress(30);
          await job.updateData({ step: 2 });
          throw new Error('not yet');
        },
      },
    ]);
    const { id } = await test.client.enqueue('q', 'n', { step: 1 });
    await test.line('job.completed', { jobId: id });
    expect(seen).toEqual([
      [{ step: 1 }, 0],
      [{ step: 2 }, 30],
    ]);
    await using queue = plainQueue(redis.url, 'q');
    await restored(redis, queue, [id], 'completed');
    const job = (await queue.getJob(id))!;
    expect([job.data, job.progress, job.attemptsMade]).toEqual([{ step: 2 }, 30, 2]);
    expect((await queue.getJobLogs(id)).logs).toEqual(['first']);
  });

  it('keeps to the concurrency, to priorities and to what is removed when it has ended', async () => {
    const runs: string[] = [];
    let now = 0;
    let most = 0;
    let go!: () => void;
    const may = new Promise<void>((resolve) => {
      go = resolve;
    });
    await using test = await cutOff(
      redis,
      [
        {
          queue: 'q',
          island: true,
          concurrency: 3,
          handler: async (job) => {
            now += 1;
            most = Math.max(most, now);
            runs.push(job.name);
            await may;
            now -= 1;
            if (job.name === 'failing') throw new Error('no');
          },
        },
      ],
      BRIEF_WINDOW,
    );
    // Three that fill the slots; behind them the more urgent goes first.
    const first = [1, 2, 3].map(() => test.client.enqueue('q', 'first', {}));
    await Promise.all(first);
    await expect.poll(() => runs.length).toBe(3);
    const options = { removeOnComplete: true, removeOnFail: true };
    const later = await test.client.enqueue('q', 'later', {}, { priority: 9, ...options });
    const sooner = await test.client.enqueue('q', 'sooner', {}, { priority: 2 });
    const failing = await test.client.enqueue('q', 'failing', {}, { priority: 5, ...options });
    go();
    await test.line('job.failed', { jobId: failing.id });
    await test.line('job.completed', { jobId: later.id });
    expect(most).toBe(3);
    expect(runs).toEqual(['first', 'first', 'first', 'sooner', 'failing', 'later']);
    await using queue = plainQueue(redis.url, 'q');
    await restored(redis, queue, [sooner.id], 'completed');
    await expect.poll(() => test.target.journal.stats().entries).toBe(0);
    expect(await queue.getJobCounts()).toMatchObject({
      completed: 4,
      failed: 0,
      active: 0,
      prioritized: 0,
    });
    expect((await queue.getJob(sooner.id))!.priority).toBe(2);
    expect(await queue.getJob(later.id)).toBeUndefined();
    expect(await queue.getJob(failing.id)).toBeUndefined();
    expect(runs).toHaveLength(6);
  });
});
