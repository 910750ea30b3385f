/**
 * Redis forgets its scripts (SCRIPT FLUSH, or a release that evicts the least used): flows, whose scripts
 * go in one transaction, are added all the same, whole and once.
 */
import { type FlowJob, FlowProducer, type Job, Worker } from 'bullmq';
import pino from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import type { FlowInput } from '../../src/queue/client.ts';
import { systemClock } from '../../src/time.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

let server: RedisServer;
let target: TestTarget;
let worker: Worker;
let runs: string[];

beforeEach(async () => {
  server = await startRedis();
  target = await startTarget(server.url);
  runs = [];
  const run = async ({ name }: Job): Promise<void> => {
    runs.push(name);
  };
  const { connection, backendFactory } = target;
  worker = new Worker('book', run, { connection, concurrency: 10 }, backendFactory);
  worker.on('error', () => undefined);
});
afterEach(async () => {
  await worker.close(true);
  await target.stop(systemClock.now() + 1000);
  await server.stop();
});

/** Every kind of script that a flow may need: parent, standard, delayed, prioritized. */
function flowOf(n: number): FlowInput {
  return {
    queue: 'book',
    name: `bind ${n}`,
    data: {},
    children: [
      { queue: 'book', name: `plain ${n}`, data: {} },
      { queue: 'book', name: `plain too ${n}`, data: {} },
      { queue: 'book', name: `late ${n}`, data: {}, options: { delay: 50 } },
      { queue: 'book', name: `urgent ${n}`, data: {}, options: { priority: 3 } },
    ],
  };
}

const namesOf = ({ name, children = [] }: FlowInput): string[] => [
  name,
  ...children.flatMap(namesOf),
];

function plain({ queue, name, data, options, children }: FlowInput): FlowJob {
  return {
    queueName: queue,
    name,
    data,
    opts: options ?? {},
    ...(children ? { children: children.map(plain) } : {}),
  };
}

const flows = [1, 2, 3].map(flowOf);
const all = flows.flatMap(namesOf).sort();

it.each(['normal', 'strict'] as const)('adds flows of a %s client', async (durability) => {
  const log = pino({ level: 'silent' });
  const client = await createClient({ redis: server.url, journal: 'memory', durability, log });
  for (const flow of flows) {
    await client.flow(flow);
    await expect.poll(() => runs.length).toBe(namesOf(flow).length * (flows.indexOf(flow) + 1));
    await server.command('SCRIPT', 'FLUSH');
  }
  expect([...runs].sort()).toEqual(all);
  await client.close();
});

it("adds flows of BullMQ's own FlowProducer", async () => {
  const { connection, backendFactory } = target;
  const producer = new FlowProducer({ connection }, backendFactory);
  for (const flow of flows) {
    await producer.add(plain(flow));
    await expect.poll(() => runs.length).toBe(namesOf(flow).length * (flows.indexOf(flow) + 1));
    await server.command('SCRIPT', 'FLUSH');
  }
  expect([...runs].sort()).toEqual(all);
  await producer.close();
});
