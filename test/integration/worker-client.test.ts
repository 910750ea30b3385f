/** The producer over a real Redis: what is accepted is there, what cannot be kept is refused. */

import { Worker } from 'bullmq';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createClient } from '../../src/queue/bullmq-client.ts';
import type { Client } from '../../src/queue/client.ts';
import { systemClock } from '../../src/time.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';
import { plainQueue } from '../support/worker-runtime.ts';

let server: RedisServer;
let target: TestTarget;
let client: Client;
let queueName: string;
let tests = 0;

const log = pino({ level: 'silent' });
const options = { prefix: 'bull', jobBytesMax: 1000, log };

beforeAll(async () => {
  server = await startRedis();
  target = await startTarget(server.url);
  client = createClient({ target, ...options });
});
afterAll(async () => {
  await client.close();
  await target.stop(systemClock.now() + 1000);
  await server.stop();
});
beforeEach(() => {
  tests += 1;
  queueName = `client-${tests}`;
});

describe('the client', () => {
  it('adds jobs that plain BullMQ sees, with ids in the order of time', async () => {
    await using queue = plainQueue(server.url, queueName);
    const first = await client.enqueue(queueName, 'a', { n: 1 }, { attempts: 4 });
    const many = await client.enqueueMany(queueName, [
      { name: 'b', data: { n: 2 } },
      { name: 'c', data: { n: 3 }, options: { jobId: 'mine', delay: 60_000 } },
    ]);
    expect(first).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{14}7/), stored: 'redis' });
    expect(many.map(({ id }) => id)).toEqual([expect.any(String), 'mine']);
    expect(first.id < many[0]!.id).toBe(true);
    expect(await queue.getJob(first.id)).toMatchObject({ name: 'a', opts: { attempts: 4 } });
    expect(await client.job(queueName, 'mine')).toMatchObject({ state: 'delayed', name: 'c' });
    expect(await client.counts(queueName)).toMatchObject({ waiting: 2, delayed: 1 });
    expect(await client.job(queueName, 'nobody')).toBeUndefined();
  });

  it('shows a job that ends while it is asked about as ended', async () => {
    const { id } = await client.enqueue(queueName, 'a', {});
    const worker = new Worker(queueName, undefined, { connection: { url: server.url } });
    const job = await worker.getNextJob('token');
    const asked = client.queue(queueName);
    const stateOf = asked.getJobState.bind(asked);
    // Between the question for the state and that for the job.
    asked.getJobState = async (jobId) => {
      const state = await stateOf(jobId);
      if (state === 'active') await job!.moveToCompleted('done', 'token', false);
      return state;
    };
    expect(await client.job(queueName, id)).toMatchObject({ state: 'completed', result: 'done' });
    await worker.close();
  });

  it('gives the same job for the same id', async () => {
    await client.enqueue(queueName, 'a', { n: 1 }, { jobId: 'once' });
    await client.enqueue(queueName, 'a', { n: 2 }, { jobId: 'once' });
    expect(await client.counts(queueName)).toMatchObject({ waiting: 1 });
  });

  it('adds a flow, all or nothing', async () => {
    const flow = {
      queue: queueName,
      name: 'parent',
      data: {},
      children: [
        { queue: queueName, name: 'child', data: { n: 1 } },
        { queue: queueName, name: 'child', data: { n: 2 } },
      ],
    };
    const { id } = await client.flow(flow);
    expect(await client.job(queueName, id)).toMatchObject({ state: 'waiting-children' });
    expect(await client.counts(queueName)).toMatchObject({ waiting: 2 });
    const bad = { ...flow, children: [{ queue: 'a:b', name: 'child', data: {} }] };
    await expect(client.flow(bad)).rejects.toMatchObject({ code: 'HOLDFAST_QUEUE_NAME_INVALID' });
    const large = { ...flow, children: [{ ...flow.children[0]!, data: 'x'.repeat(2000) }] };
    await expect(client.flow(large)).rejects.toMatchObject({ code: 'HOLDFAST_JOB_TOO_LARGE' });
    expect(await client.counts(queueName)).toMatchObject({ waiting: 2, 'waiting-children': 1 });
  });

  it('refuses what BullMQ would not keep or not find again, and adds nothing', async () => {
    const deep = JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`);
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    const refused: [Promise<unknown>, string][] = [
      [client.enqueue('', 'a', {}), 'HOLDFAST_QUEUE_NAME_INVALID'],
      [client.enqueue('a:b', 'a', {}), 'HOLDFAST_QUEUE_NAME_INVALID'],
      [client.enqueue('q\u0000', 'a', {}), 'HOLDFAST_QUEUE_NAME_INVALID'],
      [client.enqueue('q'.repeat(129), 'a', {}), 'HOLDFAST_QUEUE_NAME_INVALID'],
      [client.enqueue(queueName, '', {}), 'HOLDFAST_INPUT_INVALID'],
      [client.enqueue(queueName, 'a', 'x'.repeat(1000)), 'HOLDFAST_JOB_TOO_LARGE'],
      [client.enqueue(queueName, 'a', deep), 'HOLDFAST_'],
      [client.enqueue(queueName, 'a', cyclic), 'HOLDFAST_INPUT_INVALID'],
      [client.enqueue(queueName, 'a', { n: 1n }), 'HOLDFAST_INPUT_INVALID'],
      [client.enqueue(queueName, 'a', () => 1), 'HOLDFAST_INPUT_INVALID'],
      [client.enqueue(queueName, 'a', {}, { jobId: '7' }), 'HOLDFAST_INPUT_INVALID'],
      [client.enqueue(queueName, 'a', {}, { jobId: 'a:b' }), 'HOLDFAST_INPUT_INVALID'],
      [client.enqueue(queueName, 'a', {}, { priority: 1.5 }), 'HOLDFAST_INPUT_INVALID'],
      [client.enqueue(queueName, 'a', {}, { delay: -1 }), 'HOLDFAST_INPUT_INVALID'],
      [
        client.enqueue(queueName, 'a', {}, { backoff: { type: 'fixed', jitter: 7 } }),
        'HOLDFAST_INPUT_INVALID',
      ],
      [
        client.enqueueMany(queueName, [
          { name: 'good', data: {} },
          { name: 'bad', data: cyclic },
        ]),
        'HOLDFAST_INPUT_INVALID',
      ],
    ];
    const results = await Promise.allSettled(refused.map(([call]) => call));
    for (const [i, [, code]] of refused.entries()) {
      expect(results[i]).toMatchObject({ reason: { code: expect.stringContaining(code) } });
    }
    expect(await client.counts(queueName)).toMatchObject({ waiting: 0, delayed: 0 });
  });

  it('keeps jobs in the journal and refuses questions when Redis is not there', async () => {
    const away = await startTarget(`redis://127.0.0.1:${await freePort()}`);
    const lost = createClient({ target: away, ...options });
    const kept = { stored: 'journal' };
    const first = await lost.enqueue('q', 'a', {});
    expect(first).toMatchObject(kept);
    expect(await lost.enqueueMany('q', [{ name: 'a', data: {} }])).toMatchObject([kept]);
    const flow = { queue: 'q', name: 'a', data: {}, options: { jobId: 'root' } };
    expect(await lost.flow(flow)).toEqual({ id: 'root', stored: 'journal' });
    expect(await lost.job('q', first.id)).toMatchObject({ id: first.id, state: 'journaled' });
    for (const result of await Promise.allSettled([lost.counts('q'), lost.job('q', 'x')])) {
      expect(result).toMatchObject({ reason: { code: 'HOLDFAST_REDIS_UNAVAILABLE' } });
    }
    expect(await lost.close()).toEqual({ jobs: 3, refused: 0, path: undefined });
    await away.stop(systemClock.now() + 1000);
  });

  it('leaves no key in Redis for queues that it was only asked about, nor does a recovery', async () => {
    const own = await startRedis({ aof: 'always' });
    const asked = await startTarget(own.url);
    const asking = createClient({ target: asked, ...options });
    await asking.enqueue('known', 'a', {}, { jobId: 'there' });
    const names = Array.from({ length: 200 }, (_, i) => `made-up-${i}`);
    const found = await Promise.all(names.map((name) => asking.job(name, 'x')));
    expect(found.every((job) => job === undefined)).toBe(true);
    expect(await asking.counts('made-up-0')).toMatchObject({ waiting: 0 });
    expect(await own.command('KEYS', '*made-up*')).toEqual([]);
    await own.kill();
    await expect.poll(() => asked.state().breaker).not.toBe('closed');
    await own.restart();
    await expect.poll(() => asked.state().breaker).toBe('closed');
    expect(await asking.job('known', 'there')).toMatchObject({ state: 'waiting' });
    expect(await own.command('KEYS', '*made-up*')).toEqual([]);
    await asking.close();
    await asked.stop(systemClock.now() + 1000);
    await own.stop();
  });

  it('keeps no books of a queue without a name for its flows, nor does a recovery', async () => {
    const own = await startRedis({ aof: 'always' });
    const flowing = await startTarget(own.url, { resilience: { rollbackWindowMs: 0 } });
    const adding = createClient({ target: flowing, ...options });
    const flow = { queue: 'q', name: 'a', data: {} };
    expect(await adding.flow(flow)).toMatchObject({ stored: 'redis' });
    await own.kill();
    await expect.poll(() => flowing.state().breaker).not.toBe('closed');
    expect(await adding.flow(flow)).toMatchObject({ stored: 'journal' });
    await own.restart();
    await expect.poll(() => flowing.journal.stats().jobs).toBe(0);
    expect(await adding.counts('q')).toMatchObject({ waiting: 2 });
    const keys = (await own.command('KEYS', 'bull:*:holdfast:*')) as string[];
    expect(keys.filter((key) => !key.startsWith('bull:q:'))).toEqual([]);
    await adding.close();
    await flowing.stop(systemClock.now() + 1000);
    await own.stop();
  });

  it('shows a job that Redis refused as refused with the reason, whatever else the journal has', async () => {
    const own = await startRedis({ aof: 'always' });
    const away = await startTarget(own.url);
    const asking = createClient({ target: away, ...options });
    await expect.poll(() => away.state().breaker).toBe('closed');
    const parent = { id: 'gone', queue: 'bull:q' };
    await expect(asking.enqueue('q', 'a', {}, { parent })).rejects.toMatchObject({
      code: 'HOLDFAST_INPUT_INVALID',
      field: 'options.parent',
    });
    await own.kill();
    await expect.poll(() => away.state().breaker).not.toBe('closed');
    const { id } = await asking.enqueue('q', 'a', {}, { parent });
    expect(await asking.job('q', id)).toMatchObject({ state: 'journaled', stored: 'journal' });
    await own.restart();
    const failedReason = 'its parent is not in Redis (BullMQ answered -5)';
    const refused = { id, state: 'refused', stored: 'journal', failedReason };
    await expect.poll(() => asking.job('q', id)).toMatchObject(refused);
    await expect.poll(() => away.journal.stats().jobs).toBe(0);
    expect(await asking.job('q', id)).toMatchObject(refused);
    // The same id again, for a parent that is there.
    await own.kill();
    await expect.poll(() => away.state().breaker).not.toBe('closed');
    await asking.enqueue('q', 'b', {}, { jobId: 'other' });
    expect(await asking.job('q', id)).toMatchObject(refused);
    await asking.enqueue('q', 'b', {}, { jobId: id });
    expect(await asking.job('q', id)).toMatchObject({ name: 'b', state: 'journaled' });
    expect(await asking.close()).toEqual({ jobs: 2, refused: 1, path: undefined });
    await away.stop(systemClock.now() + 1000);
    await own.stop();
  });

  it('leads from the id of a job that was deduplicated after an outage to the job that was there', async () => {
    const own = await startRedis({ aof: 'always' });
    const away = await startTarget(own.url, { resilience: { rollbackWindowMs: 0 } });
    const asking = createClient({ target: away, ...options });
    await expect.poll(() => away.state().breaker).toBe('closed');
    const once = { deduplication: { id: 'one' } };
    const first = await asking.enqueue('q', 'a', { n: 1 }, once);
    await own.kill();
    await expect.poll(() => away.state().breaker).not.toBe('closed');
    const second = await asking.enqueue('q', 'a', { n: 2 }, once);
    expect(await asking.job('q', second.id)).toMatchObject({ id: second.id, state: 'journaled' });
    await own.restart();
    await expect.poll(() => asking.job('q', second.id)).toMatchObject({ state: 'waiting' });
    await expect.poll(() => away.journal.stats().jobs).toBe(0);
    expect(await asking.job('q', second.id)).toEqual(await asking.job('q', first.id));
    expect(await asking.job('q', 'another')).toBeUndefined();
    const key = `bull:q:holdfast:alias:${second.id}`;
    const leftMs = Number(await own.command('PTTL', key));
    expect(leftMs).toBeGreaterThan(0);
    expect(leftMs).toBeLessThanOrEqual(24 * 3_600_000);
    await asking.close();
    await away.stop(systemClock.now() + 1000);
    await own.stop();
  });

  it('serves more queues than it keeps open', async () => {
    const names = Array.from({ length: 300 }, (_, i) => `${queueName}-${i}`);
    await Promise.all(names.map((name) => client.enqueue(name, 'a', {})));
    for (const name of [names[0]!, names[299]!]) {
      // On a machine that is busy with 300 of them some go through the journal.
      await expect.poll(() => client.counts(name)).toMatchObject({ waiting: 1 });
    }
  });
});
