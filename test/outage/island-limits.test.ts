/** What does not run from the journal while a real Redis is dead, but waits for it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { assertDefinitions } from '../../src/worker/definition-schema.ts';
import { cutOff, kill, ready } from '../support/island.ts';
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
    await kill(redis, test);
    for (const queue of ['paused', 'global', 'free']) await test.client.enqueue(queue, 'n', {});
    await test.line('job.completed', { queue: 'free' });
    expect(runs).toEqual(['free']);
  });

  it('leaves flows to Redis, and finds what it may run behind many that it may not', async () => {
    const runs: string[] = [];
    await using test = await cutOff(redis, [
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
});
