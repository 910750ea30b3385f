/** A Worker that fell silent is rebuilt in place, whatever made it silent. */
import { Queue } from 'bullmq';
import { defineWorker } from 'holdfast';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createClient } from '../../src/queue/bullmq-client.ts';
import { systemClock } from '../../src/time.ts';
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
  return new Proxy(target, {
    get(of, property) {
      if (property === 'backendFactory') return deafFactory;
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
