/** What Redis has of a job that ran from the journal, beside what it has of one that it gave to its worker itself. */
import type { JobsOptions } from 'bullmq';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import { cutOff, kill, ready, restored } from '../support/island.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue, startRuntime } from '../support/worker-runtime.ts';

let redis: RedisServer;
let gate: PromiseWithResolvers<void>;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
  gate = Promise.withResolvers();
});
afterEach(async () => {
  await redis.stop();
});

const definition: WorkerDefinition = {
  queue: 'q',
  island: true,
  concurrency: 3,
  handler: async (job, context) => {
    if (job.name === 'noted') {
      await job.log(`line of ${job.processedBy}`);
      await job.updateProgress(40);
      await job.updateData({ step: 2 });
    }
    if (job.name === 'failing') throw new Error('never');
    const { attempts = 1 } = job.opts;
    if (job.name === 'held' && job.attemptsStarted >= attempts) await gate.promise;
    if (job.attemptsStarted === 1 && attempts > 1) throw new Error('not yet');
    if (job.attemptsStarted === 2 && job.name === 'put off') context.retryAfter(20);
    return { name: job.name };
  },
};

const JOBS: [name: string, options: JobsOptions][] = [
  ['plain', {}],
  ['noted', {}],
  ['failing', {}],
  ['for later', { delay: 50 }],
  ['urgent', { priority: 3 }],
  ['for later and urgent', { delay: 50, priority: 3 }],
  ['again', { attempts: 2 }],
  ['after a pause', { attempts: 2, backoff: 20 }],
  ['put off', { attempts: 3 }],
];

type Fields = Record<string, unknown>;

/** The job's hash and log lines, and what was told of it; without what is never the same. */
async function recordOf(client: Redis, id: string) {
  const hash: Fields = await client.hgetall(`bull:q:${id}`);
  for (const time of ['timestamp', 'processedOn', 'finishedOn'])
    if (hash[time]) hash[time] = 'time';
  hash.opts = String(hash.opts).replace(id, 'id');
  const traces: string[] = JSON.parse(String(hash.stacktrace ?? '[]'));
  hash.stacktrace = traces.map((trace) => trace.split('\n')[0]);
  const told = (await client.xrange('bull:q:events', '-', '+')).map(([, fields]) =>
    Object.fromEntries(fields.flatMap((key, i) => (i % 2 ? [] : [[key, fields[i + 1]]]))),
  ) as Fields[];
  const events = told
    .filter(({ jobId }) => jobId === id)
    .map(({ jobId: _, ...event }) => (event.delay ? { ...event, delay: 'time' } : event));
  return { hash, events, logs: await client.lrange(`bull:q:${id}:logs`, 0, -1) };
}

/** Without those between the first attempt's beginning and the last one's. */
function ofLastAttempt(events: readonly Fields[]): Fields[] {
  const isActive = ({ event }: Fields) => event === 'active';
  return [
    ...events.slice(0, events.findIndex(isActive)),
    ...events.slice(events.findLastIndex(isActive)),
  ];
}

describe('a job that ran from the journal', () => {
  it('is in Redis with the fields and the events of one that ran from there', async () => {
    await using test = await startRuntime(redis.url, [definition]);
    await ready(test);
    const client = new Redis(redis.url);
    client.on('error', () => {});
    const run = async (stored: string): Promise<string[]> => {
      const ids: string[] = [];
      for (const [name, options] of JOBS) {
        const added = await test.client.enqueue('q', name, { step: 1 }, options);
        expect(added.stored).toBe(stored);
        ids.push(added.id);
      }
      for (const [i, jobId] of ids.entries()) {
        await test.line(JOBS[i]![0] === 'failing' ? 'job.failed' : 'job.completed', { jobId });
      }
      return ids;
    };
    try {
      const usual = await run('redis');
      await kill(redis, test);
      const here = await run('journal');
      await redis.restart();
      await using queue = plainQueue(redis.url, 'q');
      await expect
        .poll(() => queue.getJobCounts(), { timeout: 15_000 })
        .toMatchObject({ completed: 2 * (JOBS.length - 1), failed: 2 });
      for (const [i, [name]] of JOBS.entries()) {
        const [wanted, found] = [
          await recordOf(client, usual[i]!),
          await recordOf(client, here[i]!),
        ];
        expect(found, name).toEqual({ ...wanted, events: ofLastAttempt(wanted.events) });
        expect(found.hash.pb, name).toMatch(/./);
      }
    } finally {
      client.disconnect();
    }
  });

  it('keeps why its earlier attempt failed when Redis finds the next one under way', async () => {
    await using test = await cutOff(redis, [definition]);
    const { id } = await test.client.enqueue('q', 'held', {}, { attempts: 2 });
    await expect
      .poll(() => test.client.job('q', id))
      .toMatchObject({ state: 'active', attemptsMade: 1, failedReason: 'not yet' });
    await using queue = plainQueue(redis.url, 'q');
    await restored(redis, queue, [id], 'active');
    expect((await queue.getJob(id))!.failedReason).toBe('not yet');
    gate.resolve();
    await expect.poll(() => queue.getJobState(id)).toBe('completed');
    const job = (await queue.getJob(id))!;
    expect(job.failedReason).toBe('not yet');
    expect(job.stacktrace).toEqual([expect.stringContaining('not yet')]);
    expect(job.processedBy).toMatch(/./);
  });

  it('is told with the same fields while the journal has it and when Redis has it', async () => {
    await using test = await cutOff(redis, [definition]);
    const pause = { attempts: 2, backoff: 60_000 };
    const ids = {
      active: (await test.client.enqueue('q', 'held', {})).id,
      failed: (await test.client.enqueue('q', 'failing', {})).id,
      delayed: (await test.client.enqueue('q', 'after a pause', {}, pause)).id,
      /** Its id keeps it from running here. */
      journaled: (await test.client.enqueue('q', 'n', {}, { jobId: 'own', delay: 60_000 })).id,
    };
    const shown = async (id: string) => {
      const { stored, ...view } = JSON.parse(JSON.stringify(await test.client.job('q', id)));
      return { stored, view };
    };
    const before = new Map<string, Fields>();
    for (const [state, id] of Object.entries(ids)) {
      await expect.poll(() => shown(id)).toMatchObject({ stored: 'journal', view: { state } });
      before.set(id, (await shown(id)).view);
    }
    await redis.restart();
    for (const [state, id] of Object.entries(ids)) {
      await expect.poll(() => shown(id), { timeout: 15_000 }).toMatchObject({ stored: 'redis' });
      const view = state === 'journaled' ? { state: 'delayed' } : {};
      await expect
        .poll(() => shown(id))
        .toEqual({
          stored: 'redis',
          view: { ...before.get(id), ...view },
        });
    }
    gate.resolve();
  });
});
