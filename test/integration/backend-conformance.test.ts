/**
 * What BullMQ expects of a backend, claimed once and held against BullMQ's own and against ours: an
 * upgrade that changes the contract shows here first.
 */
import { once } from 'node:events';
import {
  type BackendFactory,
  type ConnectionOptions,
  FlowProducer,
  type Job,
  Queue,
  RedisQueueBackend,
  UnrecoverableError,
  WaitingChildrenError,
  Worker,
} from 'bullmq';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { commandName, isFenced, keyCount } from '../../src/queue/fenced-scripts.ts';
import { settleArguments } from '../../src/queue/policy.ts';
import { systemClock } from '../../src/time.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

let server: RedisServer;
let target: TestTarget;
let runs = 0;

beforeAll(async () => {
  server = await startRedis();
  target = await startTarget(server.url);
});
afterAll(async () => {
  await target.stop(systemClock.now() + 2000);
  await server.stop();
});

interface Kit {
  /** undefined: BullMQ takes its own. */
  factory: BackendFactory<RedisQueueBackend>;
  connection: ConnectionOptions;
}
const kits: [string, () => Kit][] = [
  [
    "BullMQ's own backend",
    () => ({ factory: undefined as never, connection: { host: server.host, port: server.port } }),
  ],
  [
    'the resilient backend',
    () => ({ factory: target.backendFactory, connection: target.connection }),
  ],
];

describe.each(kits)('%s', (_name, kit) => {
  let queue: Queue;
  let name: string;
  const closing: { close(): Promise<unknown> }[] = [];

  beforeEach(() => {
    runs += 1;
    name = `conformance-${runs}`;
    queue = open(new Queue(name, { connection: kit().connection }, kit().factory));
  });
  afterEach(async () => {
    for (const part of closing.splice(0).reverse()) await part.close();
  });

  function open<T extends { close(): Promise<unknown> }>(part: T): T {
    (part as unknown as NodeJS.EventEmitter).on('error', () => undefined);
    closing.push(part);
    return part;
  }

  function work(
    handler: (job: Job, token?: string, signal?: AbortSignal) => unknown,
    options = {},
  ) {
    return open(
      new Worker(
        name,
        async (job, token, signal) => await handler(job, token, signal),
        { connection: kit().connection, ...options },
        kit().factory,
      ),
    );
  }

  async function finished(worker: Worker, jobs: number): Promise<void> {
    let done = 0;
    await new Promise<void>((resolve) => {
      const count = () => {
        done += 1;
        if (done >= jobs) resolve();
      };
      worker.on('completed', count);
      worker.on('failed', (job) => {
        if (job && (job.attemptsMade >= (job.opts.attempts ?? 1) || job.finishedOn)) count();
      });
    });
  }

  it('runs jobs one by one and in bulk, in order, and keeps their results', async () => {
    const order: number[] = [];
    const worker = work((job) => {
      order.push(job.data.n);
      return job.data.n * 2;
    });
    const all = finished(worker, 4);
    const first = await queue.add('a', { n: 1 });
    await queue.addBulk([2, 3, 4].map((n) => ({ name: 'a', data: { n } })));
    await all;
    expect(order).toEqual([1, 2, 3, 4]);
    expect((await queue.getJob(first.id!))?.returnvalue).toBe(2);
    expect(await queue.getJobCounts('completed', 'active', 'wait')).toEqual({
      completed: 4,
      active: 0,
      wait: 0,
    });
  });

  it('honours priority and delay', async () => {
    await queue.add('low', {}, { priority: 10 });
    await queue.add('high', {}, { priority: 1 });
    await queue.add('late', {}, { delay: 150 });
    const order: string[] = [];
    const worker = work((job) => order.push(job.name));
    await finished(worker, 3);
    expect(order).toEqual(['high', 'low', 'late']);
  });

  it('retries with backoff, counts attempts and keeps the reason', async () => {
    const worker = work((job) => {
      if (job.attemptsMade < 2) throw new Error(`no ${job.attemptsMade}`);
      return 'ok';
    });
    const all = finished(worker, 1);
    const job = await queue.add('a', {}, { attempts: 3, backoff: { type: 'fixed', delay: 20 } });
    await all;
    const stored = await queue.getJob(job.id!);
    expect(stored).toMatchObject({ returnvalue: 'ok', attemptsMade: 3, attemptsStarted: 3 });
    expect(stored?.stacktrace).toHaveLength(2);
  });

  it('fails a job for good, and retries it by hand', async () => {
    let fail = true;
    const worker = work(() => {
      if (fail) throw new UnrecoverableError('for good');
    });
    let all = finished(worker, 1);
    const { id } = await queue.add('a', {}, { attempts: 5 });
    await all;
    const job = (await queue.getJob(id!))!;
    expect(await job.getState()).toBe('failed');
    fail = false;
    all = finished(worker, 1);
    await job.retry('failed');
    await all;
    expect(await job.getState()).toBe('completed');
  });

  it('keeps progress, logs and data of a handler', async () => {
    const worker = work(async (job) => {
      await job.updateProgress({ done: 1 });
      await job.log('one');
      await job.log('two');
      await job.updateData({ ...job.data, seen: true });
    });
    const all = finished(worker, 1);
    const { id } = await queue.add('a', { n: 1 });
    await all;
    const job = (await queue.getJob(id!))!;
    expect(job.progress).toEqual({ done: 1 });
    expect(job.data).toEqual({ n: 1, seen: true });
    expect((await queue.getJobLogs(id!)).logs).toEqual(['one', 'two']);
  });

  it('runs a flow: children first, their values for the parent', async () => {
    const flows = open(new FlowProducer({ connection: kit().connection }, kit().factory));
    let values: unknown;
    const worker = work(async (job) => {
      if (job.name !== 'parent') return job.data.n;
      values = Object.values(await job.getChildrenValues()).sort();
    });
    const all = finished(worker, 3);
    await flows.add({
      name: 'parent',
      queueName: name,
      children: [1, 2].map((n) => ({ name: 'child', queueName: name, data: { n } })),
    });
    await all;
    expect(values).toEqual([1, 2]);
  });

  it('lets a handler add children of its own and wait for them', async () => {
    const worker = work(
      async (job, token) => {
        if (job.name === 'child') return 'c';
        if (!job.data.asked) {
          await job.updateData({ asked: true });
          await queue.add('child', {}, { parent: { id: job.id!, queue: job.queueQualifiedName } });
          if (await job.moveToWaitingChildren(token!)) throw new WaitingChildrenError();
        }
        return Object.values(await job.getChildrenValues());
      },
      { concurrency: 2 },
    );
    const all = finished(worker, 2);
    const parent = await queue.add('parent', {});
    await all;
    expect((await queue.getJob(parent.id!))?.returnvalue).toEqual(['c']);
  });

  it('makes the runs of a scheduler, each once', async () => {
    let count = 0;
    const worker = work(() => {
      count += 1;
    });
    const all = finished(worker, 3);
    await queue.upsertJobScheduler('tick', { every: 100 }, { name: 'tick' });
    await all;
    expect(count).toBeGreaterThanOrEqual(3);
    expect(await queue.removeJobScheduler('tick')).toBe(true);
  });

  it('deduplicates, removes, pauses and drains', async () => {
    const a = await queue.add('a', {}, { deduplication: { id: 'same' } });
    const b = await queue.add('a', {}, { deduplication: { id: 'same' } });
    expect(b.id).toBe(a.id);
    await queue.pause();
    expect(await queue.isPaused()).toBe(true);
    await queue.resume();
    expect(await queue.remove(a.id!)).toBe(1);
    await queue.addBulk([1, 2, 3].map((n) => ({ name: 'x', data: { n } })));
    await queue.drain();
    expect(await queue.count()).toBe(0);
  });

  it('limits the rate', async () => {
    const starts: number[] = [];
    const worker = work(() => starts.push(Date.now()), { limiter: { max: 1, duration: 200 } });
    const all = finished(worker, 2);
    await queue.addBulk([1, 2].map((n) => ({ name: 'x', data: { n } })));
    await all;
    expect(starts[1]! - starts[0]!).toBeGreaterThanOrEqual(150);
  });

  it('renews locks of long jobs, so that nobody else takes them', async () => {
    let runsOfJob = 0;
    const options = { lockDuration: 300, stalledInterval: 100 };
    const slow = async () => {
      runsOfJob += 1;
      await new Promise((resolve) => setTimeout(resolve, 900));
    };
    const one = work(slow, options);
    work(slow, options);
    const ended = Promise.race([finished(one, 1), once(closing.at(-1) as Worker, 'completed')]);
    await queue.add('a', {});
    await ended;
    expect(runsOfJob).toBe(1);
  });

  it('leaves what it runs when it is closed by force: another runs it, once it has stalled', async () => {
    const options = { lockDuration: 300, stalledInterval: 100 };
    const begun = Promise.withResolvers<void>();
    const left = work(() => {
      begun.resolve();
      return new Promise(() => undefined);
    }, options);
    const job = await queue.add('a', {});
    await begun.promise;
    await left.close(true);
    await finished(
      work(() => 'ran', options),
      1,
    );
    expect((await queue.getJob(job.id!))?.returnvalue).toBe('ran');
  });

  it('closes at once while it waits for work, and stops taking when paused', async () => {
    const worker = work(() => undefined);
    await worker.waitUntilReady();
    await worker.pause();
    await queue.add('a', {});
    expect(await queue.getWaitingCount()).toBe(1);
    const all = finished(worker, 1);
    await worker.resume();
    await all;
    await worker.close();
    expect(worker.isRunning()).toBe(false);
  });
});

describe('what we know of the installed package', () => {
  const args = (method: string) => {
    const seen: { name: string; args: unknown[] }[] = [];
    const backend = new RedisQueueBackend(
      { client: Promise.resolve({}), capabilities: {}, on: () => undefined } as never,
      'q',
      new Proxy({}, { get: (_t, key) => `bull:q:${String(key)}` }) as never,
      (type: string) => `bull:q:${type}`,
      { prefix: 'bull' } as never,
    );
    backend.execCommand = ((_client: unknown, name: string, sent: unknown[]) => {
      seen.push({ name, args: sent });
      return Promise.resolve(0);
    }) as never;
    return { backend, seen, method };
  };

  it('finds the job id, the token and fetchNext of every settling script in their places', async () => {
    const { backend, seen } = args('all');
    const job = { id: 'J', opts: {} } as never;
    await backend.moveToCompleted(job, 1, false, 'T', true);
    await backend.moveToDelayed('J', 1, 2, 'T', { fetchNext: true });
    await backend.retryJob('J', false, 'T');
    await backend.moveJobFromActiveToWait('J', 'T');
    expect(seen.map(({ name }) => name)).toEqual(Object.keys(settleArguments));
    for (const { name, args: sent } of seen) {
      const at = settleArguments[name]!;
      expect(sent[keyCount(name) + at.jobId]).toBe('J');
      if (at.token !== undefined) expect(sent[keyCount(name) + at.token]).toBe('T');
      if (at.fetchNext !== undefined) expect(sent[keyCount(name) + at.fetchNext]).toBe(1);
    }
  });

  it('fences every script that writes', () => {
    expect(isFenced('moveToActive')).toBe(true);
    expect(isFenced('getCounts')).toBe(false);
    expect(commandName('moveToActive')).toBe('holdfast:moveToActive');
  });
});
