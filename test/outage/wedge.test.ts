/** Queues that rightly give no work are not called wedged, however long their jobs wait. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { testConfig } from '../support/config.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue, startRuntime } from '../support/worker-runtime.ts';

/** More than an idle queue's blocking read, after which it asks again. */
const WEDGE_AFTER_MS = 7000;

let server: RedisServer;
beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  await server.stop();
});

it('calls no queue wedged that is paused, rate-limited or at its global concurrency', async () => {
  await using paused = plainQueue(server.url, 'paused');
  await using limited = plainQueue(server.url, 'limited');
  await using full = plainQueue(server.url, 'full');
  const finish = Promise.withResolvers<void>();
  const { resilience } = testConfig();
  await using worker = await startRuntime(
    server.url,
    [
      { queue: 'paused', handler: () => 'done' },
      { queue: 'limited', handler: () => 'done' },
      { queue: 'full', handler: () => finish.promise },
    ],
    { config: { resilience: { ...resilience, wedgeAfterMs: WEDGE_AFTER_MS } } },
  );
  const running = () => worker.runtime.state().queues.map((queue) => queue.running);
  await paused.pause();
  await paused.add('x', {});
  await full.setGlobalConcurrency(1);
  for (let n = 0; n < 2; n++) await full.add('x', {});
  await limited.setGlobalRateLimit(1, 20_000);
  await limited.add('x', {});
  await worker.line('job.completed', { queue: 'limited' });
  await limited.add('x', {});
  await expect.poll(running).toEqual([0, 0, 1]);
  await sleep(2 * WEDGE_AFTER_MS);
  expect(worker.lines.map(({ event }) => event)).not.toContain('worker.rebuilt');
  expect(running()).toEqual([0, 0, 1]);
  expect(await limited.getWaitingCount()).toBe(1);
  finish.resolve();
});
