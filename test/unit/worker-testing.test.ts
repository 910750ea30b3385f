/** `holdfast/testing`: a handler runs without Redis as it would with it. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ShutdownError } from '../../src/errors.ts';
import { runHandler } from '../../src/testing.ts';
import { defineWorker } from '../../src/worker/definition.ts';

const worker = defineWorker<
  { to: string; fail?: boolean | undefined },
  { sent: string },
  { smtp: string }
>({
  queue: 'mail',
  attempts: 3,
  schema: z.object({ to: z.email(), fail: z.boolean().optional() }),
  setup: () => ({ smtp: 'open' }),
  async handler(job, ctx) {
    ctx.log.info({ to: 'hidden' }, 'sending');
    await ctx.progress(10);
    await ctx.progress(20);
    await job.log('connected');
    if (job.data.fail) throw new Error(`attempt ${job.attemptsMade + 1} failed`);
    await ctx.enqueue('audit', 'sent', { to: job.data.to }, { delay: 5 });
    return { sent: `${job.data.to} by ${ctx.resources.smtp}` };
  },
});

describe('runHandler', () => {
  it('tells result, logs, progress and added jobs', async () => {
    const run = await runHandler(worker, { to: 'a@example.org' });
    expect(run).toMatchObject({
      outcome: 'completed',
      result: { sent: 'a@example.org by open' },
      error: undefined,
      progress: [10, 20],
      jobLogs: ['connected'],
      enqueued: [
        { queue: 'audit', name: 'sent', data: { to: 'a@example.org' }, options: { delay: 5 } },
      ],
    });
    expect(run.logs).toMatchObject([
      { msg: 'sending', queue: 'mail', jobId: 'test-job', jobName: 'mail', attempt: 1 },
    ]);
  });

  it('tells a retry from the last attempt', async () => {
    const data = { to: 'a@example.org', fail: true };
    expect(await runHandler(worker, data, { attempt: 2 })).toMatchObject({
      outcome: 'retried',
      error: { message: 'attempt 2 failed' },
    });
    expect((await runHandler(worker, data, { attempt: 3 })).outcome).toBe('failed');
    expect((await runHandler(worker, data, { options: { attempts: 1 } })).outcome).toBe('failed');
  });

  it('checks the data by the schema', async () => {
    const run = await runHandler(worker, { to: 'nobody' });
    expect(run.outcome).toBe('failed');
    expect(run.error?.message).toContain('to: ');
    const grace = await runHandler(worker, { to: 'nobody' }, { unknownJobGrace: 60_000 });
    expect(grace).toMatchObject({ outcome: 'put-off', delayMs: 1000 });
  });

  it('ends a handler that obeys its signal as the stop of a service would', async () => {
    const stop = new AbortController();
    const endless = defineWorker({
      queue: 'q',
      handler: (_job, ctx) => {
        stop.abort(new ShutdownError(1000));
        ctx.signal.throwIfAborted();
      },
    });
    expect((await runHandler(endless, {}, { signal: stop.signal })).outcome).toBe('returned');
  });

  it('refuses a worker that could never run', async () => {
    await expect(runHandler({ queue: 'q' } as never, {})).rejects.toThrow('"handler" is missing');
  });

  it('gives what is stored, not what is meant', async () => {
    const dates = defineWorker({
      queue: 'q',
      handler: (job) => ({ at: job.data.at, none: undefined }),
    });
    const run = await runHandler(dates, { at: new Date(0) });
    expect(run.result).toEqual({ at: '1970-01-01T00:00:00.000Z' });
  });

  it('says so when a handler needs Redis', async () => {
    const moves = defineWorker({ queue: 'q', handler: (job) => job.promote() });
    expect((await runHandler(moves, {})).error?.message).toContain('needs Redis');
  });
});
