/** How the runtime stops, times out and gives jobs back: with Redis there, frozen, dead or never met. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { testConfig } from '../support/config.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue, startRuntime } from '../support/worker-runtime.ts';

let server: RedisServer;

beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  await server.stop();
});

const untilAborted = (signal: AbortSignal) =>
  once(signal, 'abort').then(() => {
    throw signal.reason;
  });

async function timed(work: Promise<unknown>): Promise<number> {
  const before = systemClock.now();
  await work;
  return systemClock.now() - before;
}

describe('a stop', () => {
  it('waits for running handlers and records their results', async () => {
    await using queue = plainQueue(server.url, 'q');
    const started = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    await using worker = await startRuntime(server.url, [
      {
        queue: 'q',
        concurrency: 1,
        handler: async () => {
          started.resolve();
          await finish.promise;
          return 'finished';
        },
      },
    ]);
    const { id } = await queue.add('x', {});
    await started.promise;
    const next = await queue.add('next', {});
    const stopped = worker.stop(10_000);
    finish.resolve();
    await stopped;
    const job = (await queue.getJob(id!))!;
    expect(await job.getState()).toBe('completed');
    expect(job.returnvalue).toBe('finished');
    expect(await next.getState()).toBe('waiting');
    expect(worker.runtime.state().phase).toBe('stopped');
  });

  it('hands back what is not finished by the deadline, with its attempts as they were', async () => {
    await using queue = plainQueue(server.url, 'q');
    const reasons: string[] = [];
    await using worker = await startRuntime(server.url, [
      {
        queue: 'q',
        concurrency: 4,
        handlers: {
          obeys: async (_job, ctx) =>
            await untilAborted(ctx.signal).catch((error) => {
              reasons.push(error.code);
              throw error;
            }),
          ignores: () => new Promise(() => {}),
        },
      },
    ]);
    const obeys = await queue.add('obeys', {}, { attempts: 3 });
    const ignores = await queue.add('ignores', {});
    while (worker.runtime.state().queues[0]!.running < 2) await sleep(5);
    expect(await timed(worker.stop(2000))).toBeLessThan(2500);
    for (const { id } of [obeys, ignores]) {
      const job = (await queue.getJob(id!))!;
      expect(await job.getState()).toBe('waiting');
      expect(job.attemptsMade).toBe(0);
      expect(job.failedReason).toBeUndefined();
      expect(await worker.line('job.returned', { jobId: id })).toMatchObject({
        outcome: 'returned',
      });
    }
    expect(reasons).toEqual(['HOLDFAST_SHUTDOWN']);
    await using second = await startRuntime(server.url, [
      { queue: 'q', handler: (job) => job.attemptsMade },
    ]);
    await second.line('job.completed', { jobId: obeys.id });
    expect((await queue.getJob(obeys.id!))?.returnvalue).toBe(0);
  });

  it('ends at once when idle, and a second one with it', async () => {
    await using worker = await startRuntime(server.url, [{ queue: 'q', handler: () => 1 }]);
    await expect.poll(() => worker.runtime.state().queues[0]!.isConsuming).toBe(true);
    expect(await timed(Promise.all([worker.stop(10_000), worker.stop(10_000)]))).toBeLessThan(1500);
  });

  it.each([
    ['dead', (redis: RedisServer) => redis.kill()],
    ['frozen', async (redis: RedisServer) => redis.freeze()],
  ])('keeps its deadline while Redis is %s', async (_how, fault) => {
    await using queue = plainQueue(server.url, 'q');
    await using worker = await startRuntime(server.url, [
      { queue: 'q', handler: () => new Promise(() => {}) },
    ]);
    await queue.add('x', {});
    while (worker.runtime.state().queues[0]!.running < 1) await sleep(5);
    await queue.close();
    await fault(server);
    expect(await timed(worker.stop(2000))).toBeLessThan(2500);
  });

  it('keeps its deadline when Redis was never there', async () => {
    await using worker = await startRuntime(`redis://127.0.0.1:${await freePort()}`, [
      { queue: 'q', handler: () => 1, setup: () => 'pool' },
    ]);
    expect(worker.runtime.state().queues[0]?.isConsuming).toBe(false);
    expect(await timed(worker.stop(2000))).toBeLessThan(2500);
  });
});

describe('quiet', () => {
  it('takes no more jobs and goes on with those that run', async () => {
    await using queue = plainQueue(server.url, 'q');
    const finish = Promise.withResolvers<void>();
    await using worker = await startRuntime(server.url, [
      { queue: 'q', handler: () => finish.promise },
    ]);
    const { id } = await queue.add('x', {});
    while (worker.runtime.state().queues[0]!.running < 1) await sleep(5);
    worker.runtime.quiet();
    const later = await queue.add('later', {});
    finish.resolve();
    await worker.line('job.completed', { jobId: id });
    await expect
      .poll(() => worker.runtime.state())
      .toMatchObject({
        phase: 'quiet',
        queues: [{ isConsuming: false, reason: 'quiet', running: 0 }],
      });
    await worker.stop();
    expect(await later.getState()).toBe('waiting');
  });
});

describe('a timeout', () => {
  it('aborts the signal and fails the attempt; the next begins after the old run has ended', async () => {
    await using queue = plainQueue(server.url, 'q');
    let together = 0;
    let most = 0;
    await using worker = await startRuntime(server.url, [
      {
        queue: 'q',
        timeout: 50,
        attempts: 2,
        handler: async (_job, ctx) => {
          together += 1;
          most = Math.max(most, together);
          await once(ctx.signal, 'abort');
          // Ends late, as a handler that has to clean up.
          await sleep(100);
          together -= 1;
          throw ctx.signal.reason;
        },
      },
    ]);
    await queue.add('x', {});
    expect(await worker.line('job.failed')).toMatchObject({
      errorCode: 'HOLDFAST_HANDLER_TIMEOUT',
      attempt: 2,
    });
    expect(await worker.line('job.retried')).toMatchObject({
      errorCode: 'HOLDFAST_HANDLER_TIMEOUT',
    });
    expect(most).toBe(1);
  });

  it('of a handler that ignores it costs no slot: the queue goes on, the log names the job', async () => {
    await using queue = plainQueue(server.url, 'q');
    const finish = Promise.withResolvers<void>();
    await using worker = await startRuntime(server.url, [
      {
        queue: 'q',
        concurrency: 1,
        timeout: 20,
        attempts: 2,
        handlers: { stuck: () => finish.promise, quick: () => 'quick' },
      },
    ]);
    const stuck = await queue.add('stuck', {});
    const quick = await queue.add('quick', {});
    expect(await worker.line('job.overdue')).toMatchObject({ jobId: stuck.id, isReplaced: true });
    await worker.line('job.completed', { jobId: quick.id });
    expect(await stuck.getState()).toBe('active');
    expect(worker.runtime.state().queues[0]).toMatchObject({ overdue: 1, running: 1 });
    finish.resolve();
    expect(await worker.line('job.retried', { jobId: stuck.id })).toMatchObject({
      errorCode: 'HOLDFAST_HANDLER_TIMEOUT',
    });
    await worker.line('job.completed', { jobId: stuck.id });
    expect(worker.runtime.state().queues[0]).toMatchObject({ overdue: 0 });
  });

  it('fails the last attempt of a handler that ignores it', async () => {
    await using queue = plainQueue(server.url, 'q');
    const finish = Promise.withResolvers<void>();
    await using worker = await startRuntime(server.url, [
      { queue: 'q', timeout: 20, handler: () => finish.promise },
    ]);
    const { id } = await queue.add('x', {});
    await worker.line('job.failed', { jobId: id });
    expect((await queue.getJob(id!))?.failedReason).toContain('timeout of 20 ms');
    finish.resolve();
    await expect.poll(() => worker.runtime.state().queues[0]?.overdue).toBe(0);
  });
});

describe('a breaker of what a handler calls', () => {
  it('leaves the queue alone while it is open, burns no attempt, and lets others go on', async () => {
    await using queue = plainQueue(server.url, 'q');
    await using others = plainQueue(server.url, 'others');
    const calls: string[] = [];
    let isDown = true;
    await using worker = await startRuntime(server.url, [
      {
        queue: 'q',
        concurrency: 1,
        breaker: { failures: 3, openFor: 400 },
        handler: (job) => {
          calls.push(job.id!);
          if (isDown) throw new Error('no answer');
        },
      },
      { queue: 'others', handler: () => 'done' },
    ]);
    for (let n = 0; n < 3; n++) await queue.add('x', {});
    await worker.line('downstream.opened', { queue: 'q' });
    const waits = await queue.add('x', {}, { attempts: 1 });
    const other = await others.add('x', {});
    await worker.line('job.completed', { jobId: other.id, queue: 'others' });
    expect(worker.runtime.state().queues[0]).toMatchObject({
      isConsuming: false,
      reason: 'its breaker is open',
    });
    expect(calls).toHaveLength(3);
    expect(await waits.getState()).toBe('waiting');
    // One is tried, fails, and the queue rests again.
    const tried = await queue.add('x', {}, { priority: 1 });
    await worker.line('job.failed', { jobId: waits.id });
    isDown = false;
    await worker.line('job.completed', { jobId: tried.id });
    await worker.line('downstream.closed', { queue: 'q' });
    expect(calls).toHaveLength(5);
    expect(worker.lines.filter(({ event }) => event === 'downstream.opened')).toHaveLength(1);
  });

  it('waits for the one job that it tries, however long that takes, and calls nothing wedged', async () => {
    await using queue = plainQueue(server.url, 'q');
    const finish = Promise.withResolvers<void>();
    const handlers = {
      fails: () => {
        throw new Error('no answer');
      },
      tried: () => finish.promise,
      waits: () => 'done',
    };
    const { resilience } = testConfig();
    await using worker = await startRuntime(
      server.url,
      [{ queue: 'q', breaker: { failures: 1, openFor: 100 }, handlers }],
      { config: { resilience: { ...resilience, wedgeAfterMs: 300 } } },
    );
    const state = () => worker.runtime.state().queues[0];
    await queue.add('fails', {});
    await worker.line('downstream.opened');
    await queue.add('tried', {});
    await expect.poll(state).toMatchObject({
      running: 1,
      isConsuming: false,
      reason: 'its breaker tries one job',
    });
    await queue.add('waits', {});
    // Longer than what makes a wedge, with a job due and slots free.
    await sleep(900);
    finish.resolve();
    await worker.line('job.completed', { jobName: 'waits' });
    expect(worker.lines.map(({ event }) => event)).not.toContain('worker.rebuilt');
  });
});

describe('a lock that was lost', () => {
  it('aborts the run, and records nothing of it over the other worker’s', async () => {
    await using queue = plainQueue(server.url, 'q');
    let reason: unknown;
    await using worker = await startRuntime(
      server.url,
      [
        {
          queue: 'q',
          handler: async (_job, ctx) => {
            await once(ctx.signal, 'abort');
            reason = ctx.signal.reason;
            return 'ours';
          },
        },
      ],
      { config: { lockDurationMs: 1000, stalledIntervalMs: 60_000 } },
    );
    const { id } = await queue.add('x', {});
    while (worker.runtime.state().queues[0]!.running < 1) await sleep(5);
    // Another worker has it: its token stands in the lock.
    await server.command('SET', `bull:q:${id}:lock`, 'another', 'PX', 60_000);
    const line = await worker.line('job.dropped');
    expect(line).toMatchObject({ jobId: id, outcome: 'dropped', errorCode: 'HOLDFAST_LOCK_LOST' });
    expect(reason).toMatchObject({ code: 'HOLDFAST_LOCK_LOST' });
    await worker.stop();
    const job = (await queue.getJob(id!))!;
    expect(await job.getState()).toBe('active');
    expect(job.returnvalue).toBeNull();
    expect(worker.lines.some(({ event }) => /^job\.(completed|failed)$/.test(event))).toBe(false);
  });
});

describe('a worker', () => {
  it('works through a mixed lot over two replicas, one of them stopped in the middle', async () => {
    await using queue = plainQueue(server.url, 'q');
    const counts = new Map<string, number>();
    const handler = async (job: { id?: string | undefined }) => {
      await sleep(5);
      counts.set(job.id!, (counts.get(job.id!) ?? 0) + 1);
    };
    const jobs = await queue.addBulk(
      Array.from({ length: 300 }, (_, i) => ({
        name: 'x',
        data: {},
        opts: i % 3 === 0 ? { delay: i } : i % 3 === 1 ? { priority: 1 + (i % 5) } : {},
      })),
    );
    await using first = await startRuntime(server.url, [{ queue: 'q', handler }]);
    await using second = await startRuntime(server.url, [{ queue: 'q', handler }]);
    await first.line('job.completed');
    await first.stop();
    await expect.poll(() => queue.getCompletedCount(), { timeout: 10_000 }).toBe(300);
    expect(counts.size).toBe(jobs.length);
    expect([...counts.values()].every((count) => count === 1)).toBe(true);
    const lines = [...first.lines, ...second.lines];
    expect(lines.filter(({ event }) => event === 'job.completed')).toHaveLength(300);
  });
});
