/** What a handler asks of its job while Redis is away: it waits no longer than the handler may. */
import type { Job } from 'bullmq';
import { Worker } from 'bullmq';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import type { HandlerContext } from '../../src/worker/definition.ts';
import { proxiedRedis } from '../support/proxied-redis.ts';
import { startTarget } from '../support/target.ts';
import { plainQueue, startRuntime, type TestRuntimeOptions } from '../support/worker-runtime.ts';

const place = proxiedRedis();

interface Asked {
  /** Rejects with what the handler's call throws. */
  answer: Promise<unknown>;
  handler(job: Job, ctx: HandlerContext): Promise<unknown>;
}

/** A handler that loses Redis and then asks for something. */
function asking(ask: (job: Job) => Promise<unknown>): Asked {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  return {
    answer: promise,
    async handler(job) {
      place.proxy.cut();
      try {
        return await ask(job);
      } catch (error) {
        resolve(error);
        throw error;
      }
    },
  };
}

const start = (definition: object, options?: TestRuntimeOptions) =>
  startRuntime(place.proxy.url, [{ queue: 'q', ...definition } as never], options);

describe('a question of a handler in an outage', () => {
  it('ends with the timeout of its run', async () => {
    await using queue = plainQueue(place.server.url, 'q');
    const { answer, handler } = asking((job) => job.getChildrenValues());
    await using worker = await start({ handler, timeout: 300 });
    await queue.add('x', {});
    expect(await answer).toMatchObject({ code: 'HOLDFAST_HANDLER_TIMEOUT' });
    await place.proxy.heal();
    await worker.line('job.failed', { errorCode: 'HOLDFAST_HANDLER_TIMEOUT' });
  });

  it('ends before its lock can expire, where the run must not overlap another', async () => {
    await using queue = plainQueue(place.server.url, 'q');
    const { answer, handler } = asking((job) => job.getState());
    await using _ = await start(
      { handler, onLeaseLost: 'abort' },
      { config: { lockDurationMs: 1000 } },
    );
    await queue.add('x', {});
    expect(await answer).toMatchObject({ code: 'HOLDFAST_LOCK_EXPIRING' });
  });

  it('ends when the grace of a stop is over', async () => {
    await using queue = plainQueue(place.server.url, 'q');
    const { answer, handler } = asking((job) => job.moveToWaitingChildren(job.token!));
    await using worker = await start({ handler });
    await queue.add('x', {});
    await expect.poll(() => worker.target.state().breaker).toBe('open');
    const stopped = worker.stop(500);
    expect(await answer).toMatchObject({ code: 'HOLDFAST_SHUTDOWN' });
    await stopped;
  });

  it('is answered when Redis is back before', async () => {
    await using queue = plainQueue(place.server.url, 'q');
    const { handler } = asking((job) => job.getState());
    await using worker = await start({
      handler: (...run: [Job, HandlerContext]) => {
        setTimeout(() => void place.proxy.heal(), 300);
        return handler(...run);
      },
      timeout: 5000,
    });
    const job = await queue.add('x', {});
    await worker.line('job.completed');
    await expect.poll(async () => (await queue.getJob(job.id!))?.returnvalue).toBe('active');
  });
});

it('a limit that is set in an outage holds from its end on', async () => {
  await using queue = plainQueue(place.server.url, 'q');
  const target = await startTarget(place.proxy.url);
  const runs: string[] = [];
  const limited = Promise.withResolvers<void>();
  const worker = new Worker(
    'q',
    async ({ name }) => {
      runs.push(name);
      place.proxy.cut();
      await expect.poll(() => target.state().breaker).not.toBe('closed');
      await worker.rateLimit(60_000);
      limited.resolve();
      throw Worker.RateLimitError();
    },
    { connection: target.connection, limiter: { max: 100, duration: 1000 } },
    target.backendFactory,
  );
  worker.on('error', () => undefined);
  await queue.add('x', {});
  await limited.promise;
  await place.proxy.heal();
  await expect.poll(() => place.server.command('PTTL', 'bull:q:limiter')).toBeGreaterThan(50_000);
  await expect.poll(() => queue.getWaitingCount()).toBe(1);
  expect(runs).toEqual(['x']);
  await worker.close();
  await target.stop(systemClock.now() + 1000);
});
