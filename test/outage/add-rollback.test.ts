/**
 * Jobs that Redis acknowledged and then lost, with a restart from an older copy of its data: the client
 * adds them again, each once, and a living worker does not run again what it has run.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FlowProducer, type Job, Queue, Worker } from 'bullmq';
import pino from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import type { Client } from '../../src/queue/client.ts';
import { systemClock } from '../../src/time.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

const PATIENCE = { timeout: 15_000, interval: 50 };
const STRICT_PRODUCER = fileURLToPath(new URL('./sut/strict-producer.ts', import.meta.url));

let server: RedisServer;
let door: TcpProxy;
let client: Client;
let target: TestTarget;
let worker: Worker;
let queue: Queue;
let runs: string[];
let released: PromiseWithResolvers<void>;

beforeEach(async () => {
  server = await startRedis({ aof: 'always' });
  queue = new Queue('orders', { connection: { host: server.host, port: server.port } });
  queue.on('error', () => undefined);
  const settings = { PULSE_INTERVAL: '150ms' };
  const log = pino({ level: 'silent' });
  door = await startProxy(server.port);
  client = await createClient({ redis: door.url, journal: 'memory', settings, log });
  target = await startTarget(server.url, { resilience: { pulseIntervalMs: 150 } });
  runs = [];
  released = Promise.withResolvers();
  const { connection, backendFactory } = target;
  const run = async ({ id, name }: Job): Promise<string> => {
    runs.push(id!);
    if (name === 'long') await released.promise;
    return name;
  };
  worker = new Worker('orders', run, { connection, concurrency: 10 }, backendFactory);
  worker.on('error', () => undefined);
});
afterEach(async () => {
  await worker.close(true);
  await target.stop(systemClock.now() + 1000);
  await client.close();
  await queue.close();
  await door.stop();
  await server.stop();
});

async function addOfEveryKind(round: number): Promise<string[]> {
  const text = `é✓${'x'.repeat(round * 1000)}`;
  const added = [
    await client.enqueue('orders', 'plain', { round, text }),
    await client.enqueue('orders', 'delayed', { round }, { delay: 2500 }),
    await client.enqueue('orders', 'urgent', { round }, { priority: 2 }),
    await client.enqueue('orders', 'own id', { round }, { jobId: `own-${round}` }),
    await client.enqueue('orders', 'once', { round }, { deduplication: { id: `once-${round}` } }),
    ...(await client.enqueueMany('orders', [
      { name: 'bulk', data: { round, n: 1 } },
      { name: 'bulk', data: { round, n: 2 } },
    ])),
  ];
  const flow = await client.flow({
    name: 'parent',
    queue: 'orders',
    data: { round },
    options: { jobId: `parent-${round}` },
    children: [1, 2].map((n) => ({
      name: 'child',
      queue: 'orders',
      data: { round, n },
      options: { jobId: `child-${round}-${n}` },
    })),
  });
  const children = [1, 2].map((n) => `child-${round}-${n}`);
  return [...added.map(({ id }) => id), flow.id, ...children];
}

it('adds them again, once, whatever their kind, and runs none twice', async () => {
  const before = await addOfEveryKind(1);
  // All but the delayed one.
  await expect.poll(() => runs.length, PATIENCE).toBe(before.length - 1);
  const copy = server.snapshotAof();
  const done = await addOfEveryKind(2);
  await expect
    .poll(() => runs.length, PATIENCE)
    .toBeGreaterThanOrEqual(before.length + done.length - 2);
  await worker.pause(true);
  const waiting = await addOfEveryKind(3);
  await server.restartFrom(copy);
  worker.resume();
  const all = [...before, ...done, ...waiting];
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(all.length);
  expect([...runs].sort()).toEqual([...all].sort());
  const counts = await queue.getJobCounts('active', 'waiting', 'delayed', 'failed');
  expect(counts).toEqual({ active: 0, waiting: 0, delayed: 0, failed: 0 });
  const flows = new FlowProducer({ connection: { host: server.host, port: server.port } });
  const tree = await flows.getFlow({ id: 'parent-3', queueName: 'orders' });
  expect(tree.children?.map(({ job }) => job.id).sort()).toEqual(['child-3-1', 'child-3-2']);
  await flows.close();
});

it('runs none again whose run ended between the rollback and its second add', async () => {
  const copy = server.snapshotAof();
  const { id } = await client.enqueue('orders', 'long', {});
  await expect.poll(() => runs, PATIENCE).toEqual([id]);
  await door.refuse();
  door.reset();
  await server.restartFrom(copy);
  await expect.poll(() => target.state().breaker, PATIENCE).toBe('closed');
  const ended = once(worker, 'completed');
  released.resolve();
  await ended;
  await door.heal();
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);
  expect(runs).toEqual([id]);
  expect((await queue.getJob(id))?.returnvalue).toBe('long');
});

it('runs none again that a strict producer added which was killed with the rollback', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-strict-'));
  const copy = server.snapshotAof();
  const child = spawn(process.execPath, [STRICT_PRODUCER, server.url, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const id = line.toString().trim();
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await server.restartFrom(copy);
  const ran = 'bull:orders:holdfast:ran';
  await expect.poll(() => server.command('HEXISTS', ran, id).catch(() => 0), PATIENCE).toBe(1);
  const log = pino({ level: 'silent' });
  const next = await createClient({
    redis: server.url,
    journal: folder,
    durability: 'strict',
    log,
  });
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);
  expect(runs).toEqual([id]);
  await next.close();
  rmSync(folder, { recursive: true });
});

it('adds again what a strict client had added right before it was closed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-strict-'));
  const log = pino({ level: 'silent' });
  const open = () =>
    createClient({ redis: server.url, journal: folder, durability: 'strict', log });
  const copy = server.snapshotAof();
  const first = await open();
  const ids = (
    await first.enqueueMany('orders', [
      { name: 'plain', data: {} },
      { name: 'late', data: {}, options: { delay: 60_000 } },
    ])
  ).map(({ id }) => id);
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);
  await expect.poll(() => queue.getDelayedCount(), PATIENCE).toBe(1);
  expect((await first.close()).jobs).toBe(0);
  await server.restartFrom(copy);
  const next = await open();
  await expect.poll(() => queue.getDelayedCount(), PATIENCE).toBe(1);
  await expect.poll(() => queue.getCompletedCount(), PATIENCE).toBe(1);
  expect(runs).toEqual([ids[0]]);
  expect((await next.close()).jobs).toBe(0);
  rmSync(folder, { recursive: true });
});
