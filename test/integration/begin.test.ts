/** A job that was just added is given to the run that it has had here, wherever the add has put it. */
import type { JobsOptions } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BEGIN_KEYS } from '../../src/queue/lua/begin.ts';
import { ISLAND_CLAIM, ISLAND_CLAIM_KEY_COUNT } from '../../src/queue/lua/island-claim.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue } from '../support/worker-runtime.ts';

let server: RedisServer;
let client: Redis;
let queue: ReturnType<typeof plainQueue>;

beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.url);
  queue = plainQueue(server.url, 'q');
});
afterAll(async () => {
  await queue.close();
  client.disconnect();
  await server.stop();
});
beforeEach(async () => {
  await client.flushall();
  await queue.addBulk(Array.from({ length: 20 }, (_, i) => ({ name: `${i}`, data: {} })));
  await queue.add('later', {}, { delay: 60_000 });
  await queue.add('urgent', {}, { priority: 2 });
});

async function claim(jobId: string, timestamp: number): Promise<unknown> {
  const keys = BEGIN_KEYS.map((type) => `bull:q:${type}`);
  const run = [jobId, 'token', timestamp, 1, 0, 30_000, 'processedOn', 1, 'pb', 'worker'];
  return await client.eval(ISLAND_CLAIM, ISLAND_CLAIM_KEY_COUNT, ...keys, 'bull:q:', ...run);
}

/** What was told of the job. */
async function events(jobId: string): Promise<string[]> {
  const told = (await client.xrange('bull:q:events', '-', '+')).map(([, fields]) => fields);
  return told.filter((fields) => fields.includes(jobId)).map((fields) => fields[1]!);
}

async function lremCalls(): Promise<number> {
  const stats = await client.info('commandstats');
  return Number(/cmdstat_lrem:calls=(\d+)/.exec(stats)?.[1] ?? 0);
}

describe('a job that ran from the journal', () => {
  it.each<[string, JobsOptions]>([
    ['behind a backlog', {}],
    ['before a backlog', { lifo: true }],
    ['by its priority', { priority: 5 }],
    ['for later', { delay: 5000 }],
    ['for later, with a priority', { delay: 5000, priority: 5 }],
  ])('is active after its add %s, and no list is searched for it', async (_, options) => {
    const before = await queue.getJobCounts();
    const job = await queue.add('n', {}, options);
    const searches = await lremCalls();
    expect(await claim(job.id!, job.timestamp)).toBe(1);
    expect(await lremCalls()).toBe(searches);
    expect(await job.getState()).toBe('active');
    expect(await queue.getJobCounts()).toEqual({ ...before, active: 1 });
    const { delay, processedOn, processedBy } = (await queue.getJob(job.id!))!;
    expect({ delay, processedOn, processedBy }).toEqual({
      delay: 0,
      processedOn: 1,
      processedBy: 'worker',
    });
    const told = options.delay ? ['added', 'delayed', 'waiting'] : ['added', 'waiting'];
    expect(await events(job.id!)).toEqual([...told, 'active']);
    expect(await claim(job.id!, job.timestamp)).toBe(0);
    expect(await events(job.id!)).toEqual([...told, 'active']);
    expect(await client.get(`bull:q:${job.id}:lock`)).toBe('token');
  });

  it('is active also in a paused queue, and where others were added behind it', async () => {
    const among = await queue.add('n', {});
    await queue.add('another', {});
    expect(await claim(among.id!, among.timestamp)).toBe(1);
    await queue.pause();
    const before = await queue.getJobCounts();
    const paused = await queue.add('n', {});
    expect(await claim(paused.id!, paused.timestamp)).toBe(1);
    expect(await among.getState()).toBe('active');
    expect(await paused.getState()).toBe('active');
    expect(await queue.getJobCounts()).toEqual({ ...before, active: 2 });
    await queue.resume();
    expect(await client.lrange('bull:q:wait', 0, -1)).not.toContain(among.id);
  });
});
