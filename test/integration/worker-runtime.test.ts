/** Jobs of plain BullMQ producers, run by Holdfast's runtime over a real Redis. */
import { DelayedError } from 'bullmq';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Hooks } from '../../src/worker/hooks.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue, startRuntime } from '../support/worker-runtime.ts';

let server: RedisServer;
let runs = 0;
let name: string;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await server.stop();
});
beforeEach(() => {
  runs += 1;
  name = `runtime-${runs}`;
});

describe('a job of a plain producer', () => {
  it('runs, and its result, progress and log are BullMQ’s', async () => {
    await using queue = plainQueue(server.url, name);
    await using worker = await startRuntime(server.url, [
      {
        queue: name,
        async handler(job, ctx) {
          await ctx.progress({ done: 1 });
          await job.log('halfway');
          await ctx.progress({ done: 2 });
          return { doubled: job.data.n * 2 };
        },
      },
    ]);
    const { id } = await queue.add('double', { n: 21 });
    const line = await worker.line('job.completed');
    const job = (await queue.getJob(id!))!;
    expect(job.returnvalue).toEqual({ doubled: 42 });
    expect(job.progress).toEqual({ done: 2 });
    expect((await queue.getJobLogs(id!)).logs).toEqual(['halfway']);
    expect(line).toMatchObject({
      queue: name,
      jobName: 'double',
      jobId: id,
      attempt: 1,
      attemptsMax: 1,
      outcome: 'completed',
    });
    expect(line.waitMs).toBeTypeOf('number');
    expect(line.durationMs).toBeTypeOf('number');
  });

  it('goes to the handler of its name, also one named as a property of every object', async () => {
    await using queue = plainQueue(server.url, name);
    await using worker = await startRuntime(server.url, [
      { queue: name, handlers: { a: () => 'A', b: () => 'B' }, unknownJobGrace: 0 },
    ]);
    const a = await queue.add('a', {});
    const b = await queue.add('b', {});
    const odd = await queue.add('constructor', {});
    await worker.line('job.completed', { jobId: a.id });
    await worker.line('job.completed', { jobId: b.id });
    const failed = await worker.line('job.failed', { jobId: odd.id });
    expect((await queue.getJob(b.id!))?.returnvalue).toBe('B');
    expect(failed.errorCode).toBe('HOLDFAST_JOB_NAME_UNKNOWN');
  });

  it('adds jobs through its context and shares what setup opened', async () => {
    await using queue = plainQueue(server.url, name);
    const torn: unknown[] = [];
    let setups = 0;
    {
      await using worker = await startRuntime(server.url, [
        {
          queue: name,
          setup: () => {
            setups += 1;
            if (setups === 1) throw new TypeError('the database is not up');
            return { pool: setups };
          },
          teardown: (resources) => void torn.push(resources),
          handlers: {
            first: async (_job, ctx) => await ctx.enqueue(name, 'second', { from: 'first' }),
            second: (job, ctx) => ({ ...job.data, ...ctx.resources }),
          },
        },
      ]);
      await queue.add('first', {});
      const { jobId } = await worker.line('job.completed', { jobName: 'second' });
      expect((await queue.getJob(String(jobId)))?.returnvalue).toEqual({ from: 'first', pool: 2 });
      expect(worker.lines.filter(({ event }) => event === 'worker.setup_failed')).toHaveLength(1);
    }
    expect(torn).toEqual([{ pool: 2 }]);
  });
});

describe('a job that the handler does not understand', () => {
  it('is put off within the grace, without burning an attempt, and runs where it is understood', async () => {
    await using queue = plainQueue(server.url, name);
    const { id } = await queue.add('new', { n: 1 }, { attempts: 2 });
    {
      await using old = await startRuntime(server.url, [
        { queue: name, handlers: { old: () => 'old' } },
      ]);
      const line = await old.line('job.put_off');
      expect(line).toMatchObject({ jobId: id, outcome: 'put-off', attempt: 1, attemptsMax: 2 });
    }
    const waiting = (await queue.getJob(id!))!;
    expect(await waiting.getState()).toBe('delayed');
    expect(waiting.attemptsMade).toBe(0);
    expect(waiting.data).toEqual({ n: 1 });
    expect(waiting.failedReason).toContain('Put off since');
    await waiting.promote();
    await using replica = await startRuntime(server.url, [
      { queue: name, handlers: { old: () => 'old', new: () => 'new' } },
    ]);
    await replica.line('job.completed', { jobId: id });
    expect((await queue.getJob(id!))?.attemptsMade).toBe(1);
  });

  it('fails once when the grace is over, with the path of the mistake', async () => {
    await using queue = plainQueue(server.url, name);
    await using worker = await startRuntime(server.url, [
      {
        queue: name,
        schema: z.object({ user: z.object({ email: z.string() }) }),
        handler: () => 'ran',
        attempts: 5,
        unknownJobGrace: 300,
      },
    ]);
    const { id } = await queue.add('mail', { user: { email: 7 } });
    const line = await worker.line('job.failed');
    expect(line.errorCode).toBe('HOLDFAST_JOB_DATA_INVALID');
    const job = (await queue.getJob(id!))!;
    expect(job.failedReason).toContain('user.email');
    expect(job.attemptsMade).toBe(1);
    expect(worker.lines.filter(({ event }) => event === 'job.put_off').length).toBeGreaterThan(0);
    expect(worker.lines.filter(({ event }) => event === 'job.retried')).toHaveLength(0);
  });

  it('gives the handler what its schema makes of the data', async () => {
    await using queue = plainQueue(server.url, name);
    await using worker = await startRuntime(server.url, [
      {
        queue: name,
        schema: z.object({ at: z.coerce.date(), times: z.int().default(3) }),
        handler: (job) => `${job.data.at.getUTCFullYear()} ${job.data.times}`,
      },
    ]);
    const { id } = await queue.add('x', { at: '2026-11-23' });
    await worker.line('job.completed');
    expect((await queue.getJob(id!))?.returnvalue).toBe('2026 3');
  });
});

describe('attempts', () => {
  it('come from the handler where the job sets none, with its backoff', async () => {
    await using queue = plainQueue(server.url, name);
    await using worker = await startRuntime(server.url, [
      {
        queue: name,
        attempts: 3,
        backoff: 10,
        handler: (job) => {
          if (job.attemptsMade < 2) throw new Error('not yet');
          return 'third';
        },
      },
    ]);
    const { id } = await queue.add('x', {});
    expect(await worker.line('job.completed')).toMatchObject({ attempt: 3, attemptsMax: 3 });
    expect((await queue.getJob(id!))?.returnvalue).toBe('third');
    expect(worker.lines.filter(({ event }) => event === 'job.retried')).toHaveLength(2);
  });

  it("are the job's own where it sets them, even one", async () => {
    await using queue = plainQueue(server.url, name);
    await using worker = await startRuntime(server.url, [
      {
        queue: name,
        attempts: 5,
        handler: () => {
          throw new Error('always');
        },
      },
    ]);
    const { id } = await queue.add('x', {}, { attempts: 1 });
    expect(await worker.line('job.failed')).toMatchObject({
      jobId: id,
      attempt: 1,
      attemptsMax: 1,
    });
  });

  it('are not burnt by retryAfter, and end with fail', async () => {
    await using queue = plainQueue(server.url, name);
    let calls = 0;
    await using worker = await startRuntime(server.url, [
      {
        queue: name,
        attempts: 5,
        handler: (_job, ctx) => {
          calls += 1;
          if (calls < 3) ctx.retryAfter(20);
          ctx.fail('the account is closed');
        },
      },
    ]);
    const { id } = await queue.add('x', {});
    await worker.line('job.failed');
    const job = (await queue.getJob(id!))!;
    expect(job.attemptsMade).toBe(1);
    expect(job.failedReason).toBe('the account is closed');
    expect(worker.lines.filter(({ event }) => event === 'job.delayed')).toHaveLength(2);
  });

  it('stay whole when the handler moves its job in BullMQ’s own way', async () => {
    await using queue = plainQueue(server.url, name);
    let calls = 0;
    await using worker = await startRuntime(server.url, [
      {
        queue: name,
        handler: async (job) => {
          calls += 1;
          if (calls > 1) return 'second time';
          await job.moveToDelayed(Date.now() + 10, job.token);
          throw new DelayedError();
        },
      },
    ]);
    await queue.add('x', {});
    expect(await worker.line('job.completed')).toMatchObject({ attempt: 1 });
  });

  it('go on after a backoff of a name that nobody knows', async () => {
    await using queue = plainQueue(server.url, name);
    await using worker = await startRuntime(server.url, [
      {
        queue: name,
        handler: (job) => {
          if (job.attemptsMade === 0) throw new Error('first');
          return 'second';
        },
      },
    ]);
    await queue.add('x', {}, { attempts: 2, backoff: { type: 'mine', delay: 1 } });
    await worker.line('job.completed');
    expect(worker.lines.some(({ event }) => event === 'job.backoff_unknown')).toBe(true);
  });
});

describe('what handlers throw and return', () => {
  it('fails the job clearly, whatever it is', async () => {
    await using queue = plainQueue(server.url, name);
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    await using worker = await startRuntime(
      server.url,
      [
        {
          queue: name,
          attempts: 3,
          handlers: {
            text: () => Promise.reject('just text'),
            nothing: () => Promise.reject(undefined),
            cyclic: () => cyclic,
            bigint: () => ({ n: 1n }),
            callback: () => () => 1,
            large: () => 'x'.repeat(2000),
          },
        },
      ],
      { config: { resultBytesMax: 1000 } },
    );
    for (const job of ['text', 'nothing', 'cyclic', 'bigint', 'callback', 'large']) {
      await queue.add(job, {}, job === 'text' || job === 'nothing' ? { attempts: 1 } : {});
    }
    const failed = (jobName: string) => worker.line('job.failed', { jobName });
    expect((await failed('text')).error).toContain('just text');
    expect((await failed('nothing')).error).toContain('undefined');
    for (const jobName of ['cyclic', 'bigint', 'callback']) {
      expect(await failed(jobName)).toMatchObject({
        errorCode: 'HOLDFAST_RESULT_NOT_JSON',
        attempt: 1,
      });
    }
    const large = await failed('large');
    expect(large.errorCode).toBe('HOLDFAST_RESULT_TOO_LARGE');
    expect(large.error).toContain('MAX_RESULT_BYTES');
    expect(await queue.getFailedCount()).toBe(6);
    expect(worker.lines.filter(({ event }) => event === 'job.retried')).toHaveLength(0);
  });
});

describe('definitions from code', () => {
  it('are checked as those from files, all at once', async () => {
    const handler = () => 1;
    await expect(
      startRuntime(server.url, [
        { queue: name, handler },
        { queue: name, handler, concurrency: 0 },
        { queue: 'a:b', handler },
      ]),
    ).rejects.toThrow(/"concurrency" [\s\S]*"queue" contains ":"/);
    await expect(
      startRuntime(server.url, [
        { queue: name, handler },
        { queue: name, handler },
      ]),
    ).rejects.toThrow('"queue" has another worker already');
    await expect(
      startRuntime(server.url, [{ queue: name, handler }], { config: { queues: ['other'] } }),
    ).rejects.toThrow(`QUEUES: other is not valid; the handlers name ${name}`);
  });
});

describe('hooks', () => {
  it('hear of every job, and change nothing when they throw', async () => {
    await using queue = plainQueue(server.url, name);
    const heard: unknown[] = [];
    const hooks: Hooks = {
      onStarted: ({ jobName }) => {
        heard.push(['started', jobName]);
        throw new Error('hook is broken');
      },
      onCompleted: ({ jobName, result }) => void heard.push(['completed', jobName, result]),
      onFailed: async ({ jobName, isFinal, error }) => {
        heard.push(['failed', jobName, isFinal, error.message]);
        throw new Error('also broken');
      },
    };
    await using worker = await startRuntime(
      server.url,
      [
        {
          queue: name,
          handlers: {
            good: () => 1,
            bad: () => {
              throw new Error('no');
            },
          },
        },
      ],
      { hooks },
    );
    await queue.add('good', {});
    await worker.line('job.completed');
    await queue.add('bad', {});
    await worker.line('job.failed');
    expect(heard).toEqual([
      ['started', 'good'],
      ['completed', 'good', 1],
      ['started', 'bad'],
      ['failed', 'bad', true, 'no'],
    ]);
    expect(await worker.line('hook.failed', { hook: 'onStarted' })).toBeDefined();
    expect(await worker.line('hook.failed', { hook: 'onFailed' })).toBeDefined();
  });
});

describe('retention', () => {
  it('keeps what the service says, then the queue, then the job', async () => {
    await using queue = plainQueue(server.url, name);
    await using other = plainQueue(server.url, `${name}-other`);
    const handler = () => 'done';
    await using worker = await startRuntime(
      server.url,
      [
        { queue: name, handler, concurrency: 1 },
        {
          queue: `${name}-other`,
          handler,
          concurrency: 1,
          retention: { completed: { count: 1 } },
        },
      ],
      {
        config: { retention: { completed: { age: 60, count: 2 }, failed: { age: 60, count: 2 } } },
      },
    );
    for (const q of [queue, other]) {
      for (let i = 0; i < 4; i += 1) await q.add('x', {});
      const last = await q.add('last', {}, { removeOnComplete: { count: 3 } });
      await worker.line('job.completed', { jobId: last.id, queue: q.name });
    }
    // The last job keeps three by its own option; before it the queue kept two, or one.
    expect(await queue.getCompletedCount()).toBe(3);
    expect(await other.getCompletedCount()).toBe(2);
  });
});
