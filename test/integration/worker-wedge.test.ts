/** A Worker that fell silent is rebuilt in place, whatever made it silent. */
import { once } from 'node:events';
import { type Job, Queue } from 'bullmq';
import { defineWorker } from 'holdfast';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createClient } from '../../src/queue/bullmq-client.ts';
import { systemClock } from '../../src/time.ts';
import type { HandlerContext } from '../../src/worker/definition.ts';
import { createWorkerRuntime } from '../../src/worker/runtime.ts';
import { isWedged } from '../../src/worker/wedge.ts';
import { testConfig } from '../support/config.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

let server: RedisServer;
let target: TestTarget;
beforeAll(async () => {
  server = await startRedis();
  target = await startTarget(server.url);
});
afterAll(async () => {
  await target.stop(systemClock.now() + 1000);
  await server.stop();
});

it('is wedged only with due jobs, free slots and silence', () => {
  const wedged = { dueJobs: 1, freeSlots: 1, silentMs: 1000 };
  expect(isWedged(wedged, 1000)).toBe(true);
  expect(isWedged({ ...wedged, dueJobs: 0 }, 1000)).toBe(false);
  expect(isWedged({ ...wedged, freeSlots: 0 }, 1000)).toBe(false);
  expect(isWedged({ ...wedged, silentMs: 999 }, 1000)).toBe(false);
});

/** The target, but the requests for work of its first Workers vanish; nothing of the connection shows it. */
function deafTarget(deafWorkers: number): TestTarget {
  let made = 0;
  const deafFactory: TestTarget['backendFactory'] = (name, options, wants) => {
    const backend = target.backendFactory(name, options, wants);
    if (wants?.withBlockingConnection && made++ < deafWorkers) {
      backend.moveToActive = () => new Promise(() => {});
    }
    return backend;
  };
  return withFactory(deafFactory);
}

function withFactory(factory: TestTarget['backendFactory']): TestTarget {
  return new Proxy(target, {
    get(of, property) {
      if (property === 'backendFactory') return factory;
      const value = Reflect.get(of, property, of);
      return typeof value === 'function' ? value.bind(of) : value;
    },
  });
}

it('takes work again after its requests for work went unanswered, and says so with evidence', async () => {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'info' }, { write: (line) => lines.push(JSON.parse(line)) });
  const deaf = deafTarget(1);
  const counted: string[] = [];
  const client = createClient({ target, prefix: 'bull', jobBytesMax: 1e6, log });
  const config = testConfig();
  const done = Promise.withResolvers<void>();
  const runtime = createWorkerRuntime({
    definitions: [defineWorker({ queue: 'wedged', handler: () => done.resolve() })],
    config: { ...config, resilience: { ...config.resilience, wedgeAfterMs: 600 } },
    target: deaf,
    client,
    log,
    clock: systemClock,
    meter: { ended: () => {}, rebuilt: (queue) => counted.push(queue) },
  });
  await runtime.start();
  const queue = new Queue('wedged', { connection: { host: server.host, port: server.port } });
  await queue.add('x', {});
  await done.promise;
  expect(lines.find(({ event }) => event === 'worker.rebuilt')).toMatchObject({
    queue: 'wedged',
    dueJobs: 1,
    freeSlots: 10,
  });
  expect(counted).toEqual(['wedged']);
  await runtime.stop(systemClock.now() + 5000);
  await queue.close();
  await client.close();
});

it('is stuck when rebuilding did not help, until a request for work is answered', async () => {
  const rebuilt: (() => void)[] = [];
  const lines = { write: () => rebuilt.shift()?.() };
  const log = pino({ level: 'error' }, lines);
  const client = createClient({ target, prefix: 'bull', jobBytesMax: 1e6, log });
  const config = testConfig();
  const done = Promise.withResolvers<void>();
  const runtime = createWorkerRuntime({
    definitions: [defineWorker({ queue: 'stuck', handler: () => done.resolve() })],
    config: { ...config, resilience: { ...config.resilience, wedgeAfterMs: 300 } },
    target: deafTarget(3),
    client,
    log,
    clock: systemClock,
  });
  const isStuck = () => runtime.state().queues[0]!.isStuck;
  const rebuilds = [1, 2, 3].map(() => new Promise<void>((resolve) => rebuilt.push(resolve)));
  await runtime.start();
  await client.enqueue('stuck', 'x', {});
  await rebuilds[1];
  expect(isStuck()).toBe(false);
  await rebuilds[2];
  expect(isStuck()).toBe(true);
  await done.promise;
  await expect.poll(isStuck).toBe(false);
  await runtime.stop(systemClock.now() + 5000);
  await client.close();
});

describe('a worker that was rebuilt while a job of the old one runs', () => {
  /** One job runs; then requests for work go unanswered until the Worker is rebuilt for a second job. */
  async function rebuilt(definition: object, clock = systemClock) {
    const lines: Record<string, unknown>[] = [];
    const log = pino({ level: 'info' }, { write: (line) => lines.push(JSON.parse(line)) });
    let isDeaf = false;
    let made = 0;
    const own: TestTarget['backendFactory'] = (name, options, wants) => {
      const backend = target.backendFactory(name, options, wants);
      if (!wants?.withBlockingConnection) return backend;
      const take = backend.moveToActive.bind(backend);
      const isFirst = made++ === 0;
      backend.moveToActive = (...args) =>
        isDeaf && isFirst ? new Promise(() => undefined) : take(...args);
      return backend;
    };
    const config = testConfig();
    const client = createClient({ target, prefix: 'bull', jobBytesMax: 1e6, log });
    const queue = `old-${Math.random()}`;
    const runtime = createWorkerRuntime({
      definitions: [{ queue, ...definition } as never],
      config: { ...config, resilience: { ...config.resilience, wedgeAfterMs: 300 } },
      target: withFactory(own),
      client,
      log,
      clock,
    });
    await runtime.start();
    const first = await client.enqueue(queue, 'long', {});
    const state = () => runtime.state().queues[0]!;
    return { lines, client, queue, runtime, first, state, deafen: () => (isDeaf = true) };
  }

  it('is stopped only when that job was handed back', async () => {
    const worker = await rebuilt({
      concurrency: 2,
      handlers: {
        long: (_: Job, { signal }: HandlerContext) =>
          once(signal, 'abort').then(() => {
            throw signal.reason;
          }),
        short: () => 'done',
      },
    });
    const { client, queue, runtime, first, lines, state } = worker;
    await expect.poll(() => state().running).toBe(1);
    worker.deafen();
    await client.enqueue(queue, 'short', {});
    await expect.poll(() => state().finished).toBe(1);
    expect(lines.map(({ event }) => event)).toContain('worker.rebuilt');
    await runtime.stop(systemClock.now() + 2000);
    expect(state().running).toBe(0);
    expect(lines.find(({ event }) => event === 'job.returned')).toMatchObject({ jobId: first.id });
    await client.close();
  });

  it('keeps its slots when that job’s handler, which ignored its timeout, ends', async () => {
    // What the runtime waits for comes at once, so that an overdue handler need not be waited for.
    const clock = {
      ...systemClock,
      after: (ms: number, fire: () => void) => systemClock.after(Math.min(ms, 200), fire),
    };
    const finish = Promise.withResolvers<void>();
    const handlers = { long: () => finish.promise, short: () => 'done' };
    const worker = await rebuilt({ concurrency: 1, timeout: 100, attempts: 2, handlers }, clock);
    const { client, queue, runtime, lines, state } = worker;
    await expect.poll(() => state().overdue).toBe(1);
    worker.deafen();
    await client.enqueue(queue, 'short', {});
    await expect.poll(() => state().finished, { timeout: 20_000 }).toBe(1);
    finish.resolve();
    await expect.poll(() => state().overdue).toBe(0);
    await client.enqueue(queue, 'short', {});
    await expect.poll(() => state().finished).toBeGreaterThan(1);
    expect(lines.filter(({ event }) => event === 'worker.rebuilt')).toHaveLength(1);
    await runtime.stop(systemClock.now() + 2000);
    await client.close();
  });
});
