/**
 * What a recovery asks of a server that is another one, and what it goes on asking: however many jobs ended
 * before it, no more than may be undone.
 */
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { Generation } from '../../src/queue/generation.ts';
import { type HeldJob, type Outcome, QueueLedger } from '../../src/queue/ledger.ts';
import { QueueCare } from '../../src/queue/queue-care.ts';
import { type RecoveryDeps, recover } from '../../src/queue/recovery.ts';
import { systemClock } from '../../src/time.ts';
import { heldJob } from '../support/held-job.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let server: RedisServer;
let client: Redis;
let generation: Generation;
let queue: Queue;
let ledger: QueueLedger;
let care: QueueCare;
let deps: RecoveryDeps;
let runs = 0;

const identity = {
  runId: 'second',
  replicationId: 'history',
  replicationIdBefore: '',
  uptimeMs: 0,
  role: 'master',
  version: '7.0.0',
  flavour: 'redis',
} as const;

beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.url, { maxRetriesPerRequest: null });
  const [seconds] = await client.time();
  generation = new Generation(client, Number(seconds) * 1000 - systemClock.now(), systemClock);
});
beforeEach(async () => {
  await queue?.close();
  await client.flushall();
  runs += 1;
  queue = new Queue(`q${runs}`, { connection: { host: server.host, port: server.port } });
  ledger = new QueueLedger('bull', `q${runs}`);
  const fenceMs = () => 5000;
  const guardMs = () => 0;
  const server_ = () => 'second:history';
  care = new QueueCare({ clock: systemClock, processId: 'me', fenceMs, guardMs, server: server_ });
  deps = {
    clock: systemClock,
    processId: 'me',
    holdMs: 10_000,
    barrierMs: 500,
    guardMs,
    fenceMs,
    send: (...args) => care.send(...args),
    makeNextRun: (...args) => care.makeNextRun(...args),
    isOutage: () => false,
    settled: async () => undefined,
    refused: async () => undefined,
    setAside: () => undefined,
    lockLost: () => undefined,
    outcomeDropped: () => undefined,
  };
});
afterAll(async () => {
  await queue.close();
  client.disconnect();
  await server.stop();
});

const COUNT = 1200;
const AGO_MS = 5000;

/** An outcome that Redis acknowledged so long ago. */
function ended(job: Pick<HeldJob, 'id' | 'timestamp'>, agoMs: number, isWitness: boolean): Outcome {
  const at = systemClock.wall() - agoMs;
  const command = 'moveToFinished';
  return { job: heldJob(job), command, args: [], at, position: undefined, isWitness };
}

/** Many jobs that ended and were removed, and after them one that is still there. */
async function endMany(isWitness: boolean): Promise<void> {
  for (let n = 0; n < COUNT; n += 1) {
    ledger.remember(ended({ id: `removed-${n}`, timestamp: 1 }, AGO_MS, true));
  }
  const connection = { host: server.host, port: server.port };
  const plain = new Worker(queue.name, null, { connection });
  await queue.add('job', {});
  const last = (await plain.getNextJob('t', { block: false }))!;
  await last.moveToCompleted('ok', 't', false);
  await plain.close();
  ledger.remember(ended({ id: last.id!, timestamp: last.timestamp }, 0, isWitness));
}

const restarted = () =>
  recover({ generation, identity, change: 'restarted', ledgers: [ledger], aliveFrom: 1 }, deps);

async function callsOf(command: string): Promise<number> {
  const stats = await client.info('commandstats');
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
}

it('takes jobs for removed, not for undone, that ended before one that the server still has', async () => {
  await endMany(true);
  await restarted();
  expect(ledger.undone.size).toBe(0);
});

it('takes no outcome that a recovery wrote for a proof that those before it are there', async () => {
  await endMany(false);
  await restarted();
  expect(ledger.undone.size).toBe(COUNT);
});

it('asks for what a rollback undid once, and then waits until it is given back', async () => {
  await endMany(false);
  await restarted();
  await client.config('RESETSTAT');
  const watching = care.watchUndone(ledger, generation, deps);
  await expect.poll(() => callsOf('lrange'), { timeout: 5000 }).toBeGreaterThanOrEqual(3);
  expect(await callsOf('evalsha')).toBe(0);
  ledger.undone.clear();
  await watching;
});

it('is still given back what a rollback undid when a second one forgets that it waits', async () => {
  await endMany(false);
  await restarted();
  await client.del(ledger.key('ran'));
  await restarted();
  expect(await client.hlen(ledger.key('ran'))).toBe(COUNT);
});
