/**
 * The producer through outages: every enqueue is acknowledged in time, and everything that was
 * acknowledged runs once, in the order of its queue. The consumer is plain BullMQ on its own
 * connection, one job at a time, so that the order of runs is the order in Redis.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import pino from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import type { Client } from '../../src/queue/client.ts';
import { startProxy, stopAllProxies, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis, stopAllRedis } from '../support/redis-server.ts';
import { until } from './harness/until.ts';

const isFull = process.env.OUTAGE_FULL === '1';
/** The outages last 45 s; the mechanism is the same once locks and pulses have run out. */
const OUTAGE_MS = isFull ? 45_000 : 5000;
/** Between two enqueues, ms. */
const PACE_MS = 5;
/** Every call is answered within the deadline; the rest is this machine's doing. */
const ANSWER_MS_MAX = 2500;

interface World {
  server: RedisServer;
  proxy: TcpProxy;
  admin: Redis;
}

interface Fault {
  fault: string;
  /** Arguments of the server. */
  args?: readonly string[];
  cause(world: World): Promise<unknown> | unknown;
  mend(world: World): Promise<unknown> | unknown;
}

const setConfig =
  (name: string, value: string | number) =>
  ({ admin }: World) =>
    admin.config('SET', name, value);

const faults: readonly Fault[] = [
  {
    fault: 'SIGKILL, restart with its AOF',
    cause: ({ server }) => server.kill(),
    mend: ({ server }) => server.restart(),
  },
  {
    fault: 'SIGSTOP',
    cause: ({ server }) => server.freeze(),
    mend: ({ server }) => server.thaw(),
  },
  {
    fault: 'connections refused and reset',
    cause: async ({ proxy }) => {
      await proxy.refuse();
      proxy.reset();
    },
    mend: ({ proxy }) => proxy.heal(),
  },
  {
    fault: 'everything black-holed',
    cause: ({ proxy }) => proxy.blackHole(),
    mend: ({ proxy }) => proxy.heal(),
  },
  {
    fault: 'requests arrive, replies vanish',
    cause: ({ proxy }) => proxy.dropReplies(),
    mend: ({ proxy }) => proxy.heal(),
  },
  {
    fault: 'latency of 2 s with jitter',
    cause: ({ proxy }) => proxy.latency(2000, 500),
    mend: ({ proxy }) => proxy.heal(),
  },
  {
    fault: 'connections reset every 200 ms',
    cause: ({ proxy, server }) => {
      const flapping = setInterval(() => proxy.reset(), 200);
      stops.set(server, () => clearInterval(flapping));
    },
    mend: ({ server }) => stops.get(server)?.(),
  },
  {
    fault: 'READONLY',
    cause: ({ admin }) => admin.replicaof('127.0.0.1', 1),
    mend: ({ admin }) => admin.replicaof('NO', 'ONE'),
  },
  {
    fault: 'NOREPLICAS',
    cause: setConfig('min-replicas-to-write', 1),
    mend: setConfig('min-replicas-to-write', 0),
  },
  { fault: 'OOM', cause: setConfig('maxmemory', 1), mend: setConfig('maxmemory', 0) },
  {
    fault: 'maxclients reached',
    cause: async (world) => {
      await setConfig('maxclients', 1)(world);
      world.proxy.reset();
    },
    mend: setConfig('maxclients', 1000),
  },
  {
    fault: 'a password is set',
    cause: async (world) => {
      await setConfig('requirepass', 'new')(world);
      world.proxy.reset();
    },
    mend: setConfig('requirepass', ''),
  },
  {
    fault: 'CLIENT PAUSE WRITE',
    cause: ({ admin }) => admin.call('CLIENT', 'PAUSE', OUTAGE_MS, 'WRITE'),
    mend: ({ admin }) => admin.call('CLIENT', 'UNPAUSE'),
  },
];
const stops = new Map<RedisServer, () => void>();

const folders: string[] = [];
afterAll(async () => {
  await stopAllProxies();
  await stopAllRedis();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Enqueues 0, 1, 2 … one after the other until it is stopped. */
class Producer {
  readonly answers: { stored: string; ms: number }[] = [];
  readonly errors: unknown[] = [];
  readonly #client: Client;
  readonly #calls: Promise<void>[] = [];
  #isOn = true;
  readonly #loop: Promise<void>;
  next = 0;

  constructor(client: Client) {
    this.#client = client;
    this.#loop = this.#produce();
  }

  async stop(): Promise<void> {
    this.#isOn = false;
    await this.#loop;
    await Promise.all(this.#calls);
  }

  async #produce(): Promise<void> {
    while (this.#isOn) {
      this.#calls.push(this.#enqueue(this.next++));
      await sleep(PACE_MS);
    }
  }

  async #enqueue(n: number): Promise<void> {
    const began = performance.now();
    try {
      const { stored } = await this.#client.enqueue('q', 'x', { n });
      this.answers.push({ stored, ms: performance.now() - began });
    } catch (error) {
      this.errors.push(error);
    }
  }
}

describe.concurrent('every enqueue is acknowledged, and runs once and in order', () => {
  for (const { fault, args = [], cause, mend } of faults) {
    it(`through: ${fault}, ${OUTAGE_MS / 1000} s`, async () => {
      const server = await startRedis({ aof: 'always', args });
      const proxy = await startProxy(server.port);
      const admin = new Redis(server.port, { maxRetriesPerRequest: null, lazyConnect: false });
      admin.on('error', () => {});
      const folder = mkdtempSync(join(tmpdir(), 'holdfast-producer-'));
      folders.push(folder);
      const client = await createClient({
        redis: `redis://127.0.0.1:${proxy.port}`,
        journal: folder,
        log: pino({ level: 'silent' }),
      });
      const runs: number[] = [];
      const producer = new Producer(client);
      await sleep(500);
      await cause({ server, proxy, admin });
      await sleep(OUTAGE_MS);
      await mend({ server, proxy, admin });
      await sleep(1500);
      await producer.stop();
      await until('the journal is empty of jobs', 30_000, async () => {
        const { waiting = 0 } = await client.counts('q').catch(() => ({ waiting: 0 }));
        return waiting >= producer.next;
      });
      // Consumed afterwards, so that the consumer's own outage has no part in the order.
      const worker = new Worker('q', async (job) => void runs.push(job.data.n), {
        connection: { url: server.url },
      });
      worker.on('error', () => {});
      await until('all have run', 60_000, async () => runs.length >= producer.next);
      await worker.close();
      expect(producer.errors).toEqual([]);
      expect(producer.answers).toHaveLength(producer.next);
      const slowest = Math.max(...producer.answers.map(({ ms }) => ms));
      expect(slowest).toBeLessThan(ANSWER_MS_MAX);
      expect(producer.answers.some(({ stored }) => stored === 'journal')).toBe(true);
      expect(runs).toEqual(Array.from({ length: producer.next }, (_, n) => n));
      report(fault, producer);
      await client.close();
      admin.disconnect();
      await proxy.stop();
      await server.stop();
    });
  }
});

describe('a producer that dies', () => {
  it('leaves what it accepted to its next life, which adds it once', async () => {
    const server = await startRedis({ aof: 'always' });
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-producer-'));
    folders.push(folder);
    const options = { redis: server.url, journal: folder, log: pino({ level: 'silent' }) };
    const first = await createClient(options);
    await first.enqueue('q', 'x', { n: 0 });
    server.freeze();
    const kept = await Promise.all([1, 2, 3].map((n) => first.enqueue('q', 'x', { n })));
    expect(kept.map(({ stored }) => stored)).toEqual(['journal', 'journal', 'journal']);
    expect(await first.close()).toMatchObject({ jobs: 3 });
    server.thaw();
    const second = await createClient(options);
    await until('they are in Redis', 10_000, async () => {
      const { waiting } = await second.counts('q');
      return waiting === 4;
    });
    const queue = new Queue('q', { connection: { url: server.url } });
    const waiting = await queue.getWaiting();
    expect(waiting.map(({ data }) => data.n).sort()).toEqual([0, 1, 2, 3]);
    await queue.close();
    expect(await second.close()).toMatchObject({ jobs: 0 });
    await server.stop();
  });
});

function report(fault: string, { answers }: Producer): void {
  const ms = answers.map((answer) => answer.ms).sort((a, b) => a - b);
  const journaled = answers.filter(({ stored }) => stored === 'journal').length;
  const at = (share: number) => ms[Math.floor(ms.length * share)]!.toFixed(1);
  process.stdout.write(
    `producer  ${fault.padEnd(34)} ${ms.length} acknowledged, ${journaled} by the journal; ms p50 ${at(0.5)} p99 ${at(0.99)} max ${ms.at(-1)!.toFixed(0)}\n`,
  );
}
