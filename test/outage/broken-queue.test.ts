/**
 * One queue of several whose data somebody broke: that is no outage, and keeps no other queue waiting. Nobody
 * works with it here until its keys are whole again; then it comes back by itself, and nothing of it is lost
 * or runs twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import { kill } from '../support/island.ts';
import { startProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { plainQueue, startRuntime, type TestRuntime } from '../support/worker-runtime.ts';

const LOGGED = { isTargetLogged: true };
const PATIENCE = { timeout: 15_000 };
const LOCK_MS = 1000;
const TIMES = { lockDurationMs: LOCK_MS, stalledIntervalMs: 250 };

let redis: RedisServer;
let runs: string[];
/** What a job of the name `slow` waits for. */
let gate: PromiseWithResolvers<void>;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
  runs = [];
  gate = Promise.withResolvers();
});
afterEach(async () => {
  await redis.stop();
});

const handler = async ({ name }: { name: string }) => {
  runs.push(name);
  if (name === 'slow') await gate.promise;
};
const GOOD: WorkerDefinition = { queue: 'good', handler };
const BROKEN: WorkerDefinition = { queue: 'broken', concurrency: 3, handler };

const linesOf = (test: TestRuntime, event: string) =>
  test.lines.filter((line) => line.event === event);
const isClosed = (test: TestRuntime) =>
  expect.poll(() => test.target.state().breaker, PATIENCE).toBe('closed');

async function restart(test: TestRuntime): Promise<void> {
  await kill(redis, test);
  await redis.restart();
  await isClosed(test);
}

describe('a queue with a key of a wrong type', () => {
  it('is set aside and told, the others go on, and it comes back when the key is gone', async () => {
    await using test = await startRuntime(redis.url, [GOOD, BROKEN], LOGGED);
    await using queue = plainQueue(redis.url, 'broken');
    await test.client.enqueue('broken', 'done', {});
    await expect.poll(() => queue.getCompletedCount()).toBe(1);
    await test.client.enqueue('broken', 'slow', {});
    await expect.poll(() => runs).toEqual(['done', 'slow']);
    await redis.command('SET', 'bull:broken:failed', 'x');

    await restart(test);
    expect(linesOf(test, 'queue.set_aside')).toMatchObject([
      {
        queue: 'broken',
        key: 'bull:broken:failed',
        msg: expect.stringMatching(/bull:broken:failed is a string and no zset.*delete it/),
      },
    ]);
    expect((await test.client.enqueue('good', 'other', {})).stored).toBe('redis');
    await expect.poll(() => runs).toEqual(['done', 'slow', 'other']);
    expect(test.runtime.state().queues).toMatchObject([
      { queue: 'good', isConsuming: true },
      {
        queue: 'broken',
        isConsuming: false,
        reason: expect.stringMatching(/set aside.*bull:broken:failed/),
      },
    ]);

    // What belongs to it waits: how a run ends, what is accepted, what others add.
    gate.resolve();
    await test.line('job.completed', { jobName: 'slow' });
    expect((await test.client.enqueue('broken', 'late', {})).stored).toBe('journal');
    await test.client.enqueue('good', 'next', {});
    await queue.add('plain', {});
    await expect(test.client.queue('broken').pause()).rejects.toMatchObject({
      code: 'HOLDFAST_QUEUE_SET_ASIDE',
    });
    await restart(test);
    expect((await test.client.enqueue('broken', 'later', {})).stored).toBe('journal');
    await expect.poll(() => runs).toEqual(['done', 'slow', 'other', 'next']);
    expect(linesOf(test, 'queue.set_aside')).toHaveLength(2);
    expect(await queue.getActiveCount()).toBe(1);

    await redis.command('DEL', 'bull:broken:failed');
    await test.line('queue.taken_back', { queue: 'broken' });
    await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(5);
    await expect
      .poll(async () => (await test.client.enqueue('broken', 'new', {})).stored, PATIENCE)
      .toBe('redis');
    const names = ['done', 'late', 'later', 'next', 'other', 'plain', 'slow'];
    expect([...runs].filter((name) => name !== 'new').sort()).toEqual(names);
    expect(runs.indexOf('late')).toBeLessThan(runs.indexOf('later'));
    expect(linesOf(test, 'queue.set_aside')).toHaveLength(2);
    expect(test.runtime.state().queues).toMatchObject([{}, { isConsuming: true }]);
  });

  it('that was broken while Redis was away keeps what ran from the journal meanwhile', async () => {
    const island = { ...BROKEN, island: true };
    const options = { ...LOGGED, resilience: { rollbackWindowMs: 300 } };
    await using test = await startRuntime(redis.url, [GOOD, island], options);
    await isClosed(test);
    await using queue = plainQueue(redis.url, 'broken');
    await redis.command('SET', 'bull:broken:delayed', 'x');
    await kill(redis, test);
    const ended = await test.client.enqueue('broken', 'ended', {});
    await test.line('job.completed', { jobId: ended.id });
    const slow = await test.client.enqueue('broken', 'slow', {});
    await expect.poll(() => runs).toEqual(['ended', 'slow']);
    await redis.restart();
    await isClosed(test);
    await test.line('queue.set_aside', { key: 'bull:broken:delayed' });
    expect(await redis.command('KEYS', `bull:broken:*${slow.id}*`)).toEqual([]);
    gate.resolve();
    await test.line('job.completed', { jobId: slow.id });

    await redis.command('DEL', 'bull:broken:delayed');
    const states = () => Promise.all([ended, slow].map(({ id }) => queue.getJobState(id)));
    await expect.poll(states, PATIENCE).toEqual(['completed', 'completed']);
    expect(runs).toEqual(['ended', 'slow']);
    await expect.poll(() => test.target.journal.stats().jobs, PATIENCE).toBe(0);
  });

  it('keeps the locks of what runs here from replicas that met no outage', async () => {
    await using proxy = await startProxy(redis.port);
    const options = { ...LOGGED, config: TIMES };
    await using one = await startRuntime(proxy.url, [BROKEN], options);
    await one.client.enqueue('broken', 'slow', {});
    await expect.poll(() => runs).toEqual(['slow']);
    await using other = await startRuntime(redis.url, [BROKEN], options);
    await isClosed(other);
    await redis.command('SET', 'bull:broken:failed', 'x');
    proxy.cut();
    await expect.poll(() => one.target.state().breaker).not.toBe('closed');
    await proxy.heal();
    await one.line('queue.set_aside', { queue: 'broken' });
    // For several lives of its lock nobody else may take it, neither while it runs nor when it has ended.
    await sleep(3 * LOCK_MS);
    gate.resolve();
    await one.line('job.completed', { jobName: 'slow' });
    await sleep(3 * LOCK_MS);
    await redis.command('DEL', 'bull:broken:failed');
    await using queue = plainQueue(redis.url, 'broken');
    await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);
    expect(runs).toEqual(['slow']);
    expect(linesOf(other, 'queue.set_aside')).toEqual([]);
  });

  it('is set aside at a start too, with how a job ended in the life before', async () => {
    const folder = temporaryFolder();
    const journal = { ...LOGGED, journalDir: folder };
    await using queue = plainQueue(redis.url, 'broken');
    {
      await using before = await startRuntime(redis.url, [BROKEN], journal);
      await before.client.enqueue('broken', 'slow', {});
      await expect.poll(() => runs).toEqual(['slow']);
      await kill(redis, before);
      gate.resolve();
      await before.line('job.completed', { jobName: 'slow' });
    }
    await redis.restart();
    await redis.command('SET', 'bull:broken:completed', 'x');
    await using test = await startRuntime(redis.url, [GOOD, BROKEN], journal);
    await isClosed(test);
    await test.line('queue.set_aside', { key: 'bull:broken:completed' });
    expect((await test.client.enqueue('good', 'other', {})).stored).toBe('redis');
    await redis.command('DEL', 'bull:broken:completed');
    await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);
    expect(runs).toEqual(['slow', 'other']);
  });
});

it('a job whose own key is broken sets its queue aside, and is told with what Redis says', async () => {
  await using test = await startRuntime(redis.url, [GOOD, BROKEN], LOGGED);
  await using queue = plainQueue(redis.url, 'broken');
  const { id } = await test.client.enqueue('broken', 'slow', {});
  await expect.poll(() => runs).toEqual(['slow']);
  await redis.command('SET', `bull:broken:${id}`, 'x');
  await restart(test);
  const line = await test.line('queue.set_aside', { queue: 'broken' });
  expect(line.msg).toMatch(/WRONGTYPE/);
  expect((await test.client.enqueue('good', 'other', {})).stored).toBe('redis');
  await queue.add('plain', {});
  await redis.command('DEL', `bull:broken:${id}`);
  await test.line('queue.taken_back', { queue: 'broken' });
  await expect.poll(() => runs).toEqual(['slow', 'other', 'plain']);
  gate.resolve();
});
