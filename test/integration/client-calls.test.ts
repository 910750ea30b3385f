/** What a client's caller is told by the calls that ask, wait and close, in calm weather and in an outage. */
import { Queue, QueueEvents, Worker } from 'bullmq';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type ClientOptions, createClient } from '../../src/create-client.ts';
import { journalFolder } from '../support/journal-folder.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const log = pino({ level: 'silent' });
let redis: RedisServer;

beforeEach(async () => {
  redis = await startRedis();
});
/** To be closed while their Redis is there. */
const parts: { close(): Promise<void> }[] = [];

const closeParts = () => Promise.all(parts.splice(0).map((part) => part.close()));

afterEach(async () => {
  await closeParts();
  await redis.stop();
});

async function newClient(options: ClientOptions = {}) {
  const journal = await journalFolder();
  const client = await createClient({ redis: redis.url, journal, log, ...options });
  onTestFinished(async () => {
    await client.close();
  });
  return client;
}

/** BullMQ's own, on connections of their own. */
function newWorker(removeOnComplete = false) {
  const connection = { url: redis.url };
  const worker = new Worker('q', async (job) => job.data.n * 2, {
    connection,
    ...(removeOnComplete ? { removeOnComplete: { count: 0 } } : {}),
  });
  const events = new QueueEvents('q', { connection });
  worker.on('error', () => undefined);
  events.on('error', () => undefined);
  parts.push(worker, events);
  return { worker, events };
}

function plainQueue() {
  const queue = new Queue('q', { connection: { url: redis.url } });
  parts.push(queue);
  return queue;
}

describe("BullMQ's waitUntilFinished", () => {
  it('waits through an outage, where nobody could catch its error', async () => {
    const client = await newClient();
    const { worker, events } = newWorker();
    await events.waitUntilReady();
    await worker.pause();
    const job = await client.queue('q').add('x', { n: 4 });
    redis.freeze();
    await expect(client.queue('q').getJobCounts()).rejects.toThrow(/frozen/);
    const finished = job.waitUntilFinished(events);
    redis.thaw();
    worker.resume();
    expect(await finished).toBe(8);
  });

  it('waits for jobs that only the journal has yet', async () => {
    const client = await newClient({ durability: 'strict' });
    const { events } = newWorker();
    await events.waitUntilReady();
    const results = [1, 2, 3, 4, 5].map(async (n) => {
      const job = await client.queue('q').add('x', { n });
      return await job.waitUntilFinished(events);
    });
    expect(await Promise.all(results)).toEqual([2, 4, 6, 8, 10]);
  });

  it('says of a job that is nowhere what BullMQ says', async () => {
    const client = await newClient();
    const { events } = newWorker();
    const job = await client.queue('q').add('x', { n: 1 }, { delay: 60_000 });
    await job.remove();
    await expect(job.waitUntilFinished(events)).rejects.toThrow(/Missing key for job/);
  });
});

it('does not call a job journaled that Redis took, and that has run and been removed', async () => {
  const client = await newClient({ durability: 'strict' });
  const { worker } = newWorker(true);
  const ended = new Promise((resolve) => worker.once('completed', resolve));
  const { id, stored } = await client.enqueue('q', 'x', { n: 1 });
  expect(stored).toBe('journal');
  await ended;
  await expect.poll(() => client.job('q', id)).toBeUndefined();
  await closeParts();
  await redis.kill();
  await expect
    .poll(() => client.job('q', id).catch(({ code }) => code))
    .toBe('HOLDFAST_REDIS_UNAVAILABLE');
});

it('says of what was sent and not answered that it may have been done', async () => {
  const client = await newClient();
  const queue = client.queue('q');
  await queue.add('x', {});
  redis.freeze();
  const [paused, counted] = await Promise.allSettled([queue.pause(), queue.getJobCounts()]);
  redis.thaw();
  expect(paused).toMatchObject({
    reason: {
      code: 'HOLDFAST_REDIS_UNAVAILABLE',
      message: expect.stringMatching(/pause.*may or may not have been done/),
    },
  });
  expect(counted).toMatchObject({ reason: { message: expect.stringMatching(/was not done/) } });
});

it('answers its questions within enqueueTimeout, however long Redis is silent', async () => {
  const settings = { PULSE_TIMEOUT: '60s' };
  const client = await newClient({ enqueueTimeout: 300, settings });
  const { id } = await client.enqueue('q', 'x', {});
  redis.freeze();
  const unavailable = { code: 'HOLDFAST_REDIS_UNAVAILABLE' };
  await expect(client.counts('q')).rejects.toMatchObject(unavailable);
  await expect(client.job('q', id)).rejects.toMatchObject(unavailable);
  redis.thaw();
});

describe('close', () => {
  it('gives Redis what the journal has, while Redis is there', async () => {
    const client = await newClient({ durability: 'strict' });
    for (let n = 0; n < 20; n += 1) await client.enqueue('q', 'x', { n });
    const unawaited = client.enqueue('q', 'x', { n: 20 });
    expect(await client.close()).toMatchObject({ jobs: 0 });
    await unawaited;
    expect((await plainQueue().getWaiting()).map(({ data }) => data.n)).toHaveLength(21);
  });

  it('waits for what is on its way', async () => {
    const client = await newClient();
    const accepted = Array.from({ length: 100 }, (_, n) => client.enqueue('q', 'x', { n }));
    expect(await client.close()).toMatchObject({ jobs: 0 });
    await Promise.all(accepted);
    expect(await plainQueue().getWaitingCount()).toBe(100);
  });

  it('is said of all that is asked for after it', async () => {
    const client = await newClient();
    const queue = client.queue('q');
    await queue.add('x', {});
    await client.close();
    const closed = { code: 'HOLDFAST_CLIENT_CLOSED' };
    await expect(client.enqueue('q', 'x', {})).rejects.toMatchObject(closed);
    await expect(client.enqueueMany('q', [{ name: 'x', data: 1 }])).rejects.toMatchObject(closed);
    await expect(client.flow({ queue: 'q', name: 'x', data: 1 })).rejects.toMatchObject(closed);
    await expect(queue.add('x', {})).rejects.toMatchObject(closed);
    await expect(queue.getJobCounts()).rejects.toMatchObject(closed);
  });
});

it("gives BullMQ's queue the default options of its jobs, and refuses what is the client's", async () => {
  const client = await newClient();
  const queue = client.queue('q', { defaultJobOptions: { attempts: 7, removeOnComplete: 5 } });
  const { opts } = await queue.add('x', {}, { attempts: 3 });
  expect(opts).toMatchObject({ attempts: 3, removeOnComplete: 5 });
  expect((await client.queue('q').add('x', {})).opts).not.toHaveProperty('removeOnComplete');
  const refused = (options: object) => () => client.queue('q', options);
  expect(refused({ connection: {} })).toThrow(/options\.connection is not known here/);
  expect(refused({ defaultJobOptions: { attempts: 'many' } })).toThrow(/attempts/);
});
