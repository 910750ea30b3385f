/** What a queue of BullMQ is like, as the page, the metrics and the doctor see it. */
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Link } from '../../src/diagnose/link.ts';
import { lookAt } from '../../src/diagnose/queue-look.ts';
import type { Target } from '../../src/diagnose/target.ts';
import { lookAtQueue } from '../../src/queue/next-job.ts';
import { createService } from '../../src/service.ts';
import { redisConfig } from '../support/config.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { valueIn } from '../support/scrape.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const HOURS_2_MS = 7_200_000;
const SECOND_MS = 1000;
let redis: RedisServer;
let client: Redis;
let queue: Queue;

beforeAll(async () => {
  redis = await startRedis();
  client = new Redis(redis.port, redis.host);
  queue = new Queue('mail', { connection: { url: redis.url } });
});
afterAll(async () => {
  await queue.close();
  client.disconnect();
  await redis.stop();
});
beforeEach(() => client.flushall());

/** As the doctor sees it. */
async function doctorSees(now: number) {
  const link = new Link({ redis: redisConfig({ url: redis.url }) } as Target);
  await link.open(5000);
  try {
    return await lookAt(link, 'bull', 'mail', now);
  } finally {
    link.client.disconnect();
  }
}

/** A job that has waited for two hours for its time, which came a second ago. */
async function addDelayed(now: number) {
  const delay = HOURS_2_MS - SECOND_MS;
  const job = await queue.add('a', {}, { timestamp: now - HOURS_2_MS, delay });
  await job.promote();
}

describe('the oldest job', () => {
  it('is as old as its lateness, not as the job', async () => {
    const now = Date.now();
    await addDelayed(now);
    expect(await lookAtQueue(client, 'bull', 'mail')).toEqual({
      isPaused: false,
      dueAt: now - SECOND_MS,
    });
    expect((await doctorSees(now)).oldestWaitMs).toBe(SECOND_MS);
  });

  it('may be one with a priority, which is counted among those that wait', async () => {
    const now = Date.now();
    await addDelayed(now);
    await queue.add('b', {}, { timestamp: now - HOURS_2_MS, priority: 3 });
    expect((await lookAtQueue(client, 'bull', 'mail')).dueAt).toBe(now - HOURS_2_MS);
    expect(await doctorSees(now)).toMatchObject({ waiting: 2, oldestWaitMs: HOURS_2_MS });
  });

  it.each([
    ['of its own', { backoff: { type: 'exponential', delay: 4000 } }, undefined],
    ['of its handler', {}, { type: 'fixed', delay: 8000 }],
  ])('that is tried again is due after its pause %s', async (_, options, ofHandler) => {
    const now = Date.now();
    const job = await queue.add('c', {}, { timestamp: now - HOURS_2_MS, attempts: 5, ...options });
    await client.hset(`bull:mail:${job.id}`, { processedOn: now - 10_000, atm: 2 });
    const { dueAt } = await lookAtQueue(client, 'bull', 'mail', ofHandler);
    expect(dueAt).toBe(now - 2000);
  });

  it('is none in an empty queue', async () => {
    expect(await lookAtQueue(client, 'bull', 'mail')).toEqual({
      isPaused: false,
      dueAt: undefined,
    });
    expect(await doctorSees(Date.now())).toMatchObject({ waiting: 0, oldestWaitMs: undefined });
  });
});

describe('a paused queue', () => {
  it('is said to be paused everywhere, is not late, and wants no more replicas', async () => {
    const dir = temporaryFolder();
    const service = createService({
      settings: { REDIS_URL: redis.url, DATA_DIR: dir, CONFIG_DIR: dir, HTTP_PORT: '0' },
      log: pino({ level: 'silent' }),
      workers: [{ queue: 'mail', handler: () => undefined }],
    });
    onTestFinished(() => service.stop());
    await queue.pause();
    for (const name of ['a', 'b']) {
      await queue.add(name, {}, { timestamp: Date.now() - HOURS_2_MS });
    }
    await service.start();
    const ask = async (path: string) => (await fetch(service.address + path)).json() as never;
    const metric = async (name: string, labels = {}) => {
      const text = await (await fetch(`${service.address}/metrics`)).text();
      return valueIn(text, `holdfast_queue_${name}`, { queue: 'mail', ...labels });
    };

    await expect
      .poll(() => ask('/readyz/consume/mail'), { timeout: 15_000 })
      .toMatchObject({
        status: 'unavailable',
        queues: [{ queue: 'mail', isConsuming: false, reason: 'paused' }],
      });
    expect(await ask('/v1/status')).toMatchObject({
      level: 'notice',
      sentence: expect.stringContaining('mail (paused)'),
      queues: [{ queue: 'mail', reason: 'paused', reading: { waiting: 2, isPaused: true } }],
    });
    expect(await metric('paused')).toBe(1);
    expect(await metric('consuming')).toBe(0);
    expect(await metric('backlog_jobs')).toBe(0);
    expect(await metric('oldest_job_age_seconds')).toBe(0);
    expect(await metric('jobs', { state: 'waiting' })).toBe(2);
    expect(await doctorSees(Date.now())).toMatchObject({ isPaused: true, waiting: 2 });

    await queue.resume();
    await expect
      .poll(async () => [await metric('paused'), await metric('consuming')], { timeout: 15_000 })
      .toEqual([0, 1]);
    expect(await ask('/readyz/consume/mail')).toMatchObject({ status: 'ok' });
  });
});
