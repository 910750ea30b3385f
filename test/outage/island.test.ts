/** Jobs that run from the journal while a real Redis is dead, and what Redis says of them afterwards. */
import type { Queue } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import { assertDefinitions } from '../../src/worker/definition-schema.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue, startRuntime, type TestRuntime } from '../support/worker-runtime.ts';

let redis: RedisServer;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
});
afterEach(async () => {
  await redis.stop();
});

/** A runtime that has seen what the queues' keys say, and whose Redis is dead. */
async function cutOff(definitions: WorkerDefinition[]): Promise<TestRuntime> {
  const test = await startRuntime(redis.url, definitions);
  await ready(test);
  await kill(test);
  return test;
}

async function ready({ target }: TestRuntime): Promise<void> {
  await expect.poll(() => target.state().breaker).toBe('closed');
  // The look at the queue's keys follows at once: one more round trip is behind it.
  await target.generation()!.client.ping();
  await target.generation()!.client.ping();
}

async function kill({ target }: TestRuntime): Promise<void> {
  await redis.kill();
  await expect.poll(() => target.state().breaker, { timeout: 5000 }).not.toBe('closed');
}

async function restored(queue: Queue, ids: string[], state: string): Promise<void> {
  await redis.restart();
  await expect
    .poll(() => Promise.all(ids.map((id) => queue.getJobState(id))), { timeout: 15_000 })
    .toEqual(ids.map(() => state));
}

describe('island mode', () => {
  it('runs what it accepted while Redis is away, and Redis has result, log and times afterwards', async () => {
    const runs: string[] = [];
    await using test = await cutOff([
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
    ]);
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
    await restored(queue, ids, 'completed');
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
    expect(test.target.journal.stats().outcomes).toBe(0);
  });

  it('repeats attempts with their backoff, and fails what fails each time', async () => {
    const attempts: number[] = [];
    await using test = await cutOff([
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
    await restored(queue, [id], 'failed');
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
    await using test = await cutOff([
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

  it('leaves what may be in Redis, what is named by its caller or deduplicated to Redis', async () => {
    const runs: string[] = [];
    await using test = await startRuntime(redis.url, [
      { queue: 'q', island: true, handler: (job) => void runs.push(job.name) },
    ]);
    await ready(test);
    redis.freeze();
    // Written to the socket, not answered: the journal takes them over as sent.
    const doubted = await Promise.all([1, 2, 3].map(() => test.client.enqueue('q', 'doubted', {})));
    expect(doubted.map(({ stored }) => stored)).toEqual(['journal', 'journal', 'journal']);
    await expect.poll(() => test.target.state().breaker, { timeout: 10_000 }).not.toBe('closed');
    await test.client.enqueue('q', 'named', {}, { jobId: 'mine' });
    await test.client.enqueue('q', 'single', {}, { deduplication: { id: 'one' } });
    const plain = await test.client.enqueue('q', 'plain', {});
    await test.line('job.completed', { jobId: plain.id });
    expect(runs).toEqual(['plain']);
    redis.thaw();
    await expect.poll(() => runs.length, { timeout: 15_000 }).toBe(6);
    expect([...runs].sort()).toEqual(
      ['doubted', 'doubted', 'doubted', 'named', 'plain', 'single'].sort(),
    );
  });

  it('runs delayed jobs at their time and not before, with their priority and their attempts', async () => {
    const runs: { name: string; at: number; delay: number }[] = [];
    await using test = await cutOff([
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
    await restored(queue, ids, 'completed');
    expect(await queue.getJobCounts()).toMatchObject({ completed: 3, delayed: 0, active: 0 });
    const job = (await queue.getJob(urgent.id))!;
    expect([job.delay, job.opts.delay, job.priority, job.attemptsMade]).toEqual([0, 600, 2, 1]);
    expect((await queue.getJob(twice.id))!.attemptsMade).toBe(2);
    expect(runs).toHaveLength(4);
  });

  it('gives a delayed job to Redis that is back before its time, and it runs then', async () => {
    const runs: { name: string; at: number }[] = [];
    await using test = await cutOff([
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
      kill(one),
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

  it('refuses a limiter by name, and does not run a queue that is paused or limited', async () => {
    expect(() =>
      assertDefinitions([
        { queue: 'q', island: true, limiter: { max: 1, duration: 1000 }, handler: () => 1 },
      ]),
    ).toThrow(/"island" cannot keep the "limiter"/);
    await using paused = plainQueue(redis.url, 'paused');
    await using global = plainQueue(redis.url, 'global');
    await paused.pause();
    await global.setGlobalConcurrency(1);
    const runs: string[] = [];
    const handler = (job: { queueName: string }) => void runs.push(job.queueName);
    await using test = await startRuntime(
      redis.url,
      ['paused', 'global', 'free'].map((queue) => ({ queue, island: true, handler })),
      { isTargetLogged: true },
    );
    const reason = await test.line('island.refused', { queue: 'paused' });
    expect(reason.reason).toBe('it is paused');
    await test.line('island.refused', { queue: 'global' });
    await ready(test);
    await kill(test);
    for (const queue of ['paused', 'global', 'free']) await test.client.enqueue(queue, 'n', {});
    await test.line('job.completed', { queue: 'free' });
    expect(runs).toEqual(['free']);
  });

  it('shows the next attempt what the one before wrote into its job', async () => {
    const seen: unknown[] = [];
    await using test = await cutOff([
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
    await restored(queue, [id], 'completed');
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
    await using test = await cutOff([
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
    ]);
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
    await restored(queue, [sooner.id], 'completed');
    await expect.poll(() => test.target.journal.stats().outcomes).toBe(0);
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

  it('leaves flows to Redis, and finds what it may run behind many that it may not', async () => {
    const runs: string[] = [];
    await using test = await cutOff([
      { queue: 'q', island: true, handler: (job) => void runs.push(job.name) },
    ]);
    await test.client.flow({
      queue: 'q',
      name: 'parent',
      data: {},
      children: [{ queue: 'q', name: 'child', data: {} }],
    });
    const many = Array.from({ length: 600 }, (_, i) => ({
      name: 'named',
      data: {},
      options: { jobId: `job-${i}` },
    }));
    await test.client.enqueueMany('q', many);
    const last = await test.client.enqueue('q', 'last', {});
    await test.line('job.completed', { jobId: last.id });
    expect(runs).toEqual(['last']);
    await redis.restart();
    await expect.poll(() => runs.length, { timeout: 20_000 }).toBe(603);
    expect(runs.indexOf('child')).toBeLessThan(runs.indexOf('parent'));
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
      const isOver = kill(test);
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
    await kill(test);
    const slow = await test.client.enqueue('q', 'slow', {});
    const ids = [slow.id];
    for (let i = 0; i < 5; i += 1) ids.push((await test.client.enqueue('q', 'quick', {})).id);
    for (const jobId of ids.slice(1)) await test.line('job.completed', { jobId });

    await using queue = plainQueue(redis.url, 'q');
    await restored(queue, ids.slice(1), 'completed');
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
