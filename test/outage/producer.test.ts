/**
 * The producer through outages: every enqueue is acknowledged in time, and everything that was
 * acknowledged runs once, in the order of its queue. The faults are those of the matrix. The consumer is
 * plain BullMQ on its own connection, one job at a time, so that the order of runs is the order in Redis.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import pino from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import type { Client } from '../../src/queue/client.ts';
import { stopAllProxies } from '../support/proxy.ts';
import { startRedis, stopAllRedis } from '../support/redis-server.ts';
import './faults/hosts.ts';
import type { Row } from './harness/row.ts';
import { until } from './harness/until.ts';
import { singleStage, World } from './harness/world.ts';
import { rows } from './rows/index.ts';

const isFull = process.env.OUTAGE_FULL === '1';
/** Of faults that do not say themselves how long they are; what happens is the same from the first second on. */
const OUTAGE_MS = isFull ? 45_000 : 5000;
/** Between two enqueues, ms. */
const PACE_MS = 5;
/** Every call is answered within the deadline; the rest is this machine's doing. */
const ANSWER_MS_MAX = 2500;
/** Faults whose length is part of them. */
const OWN_LENGTH = new Set(['DEBUG SLEEP', 'killed, then LOADING']);
/** A producer has no blocking connection. */
const NOT_A_PRODUCERS = new Set(['3.5']);

/** Each fault of the rows 1 to 5 once. */
const faults: readonly Row[] = rows.filter(({ id, fault, isFull: isLong }, i) => {
  const isFirst = rows.findIndex((row) => row.fault === fault && !row.isFull) === i;
  return Number.parseInt(id, 10) <= 5 && isFirst && !isLong && !NOT_A_PRODUCERS.has(id);
});

const folders: string[] = [];
function folder(): string {
  folders.push(mkdtempSync(join(tmpdir(), 'holdfast-producer-')));
  return folders.at(-1)!;
}

afterAll(async () => {
  await stopAllProxies();
  await stopAllRedis();
  for (const one of folders) rmSync(one, { recursive: true, force: true });
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
  for (const row of faults) {
    const outageMs = OWN_LENGTH.has(row.fault) ? row.outageMs : OUTAGE_MS;
    it(`through ${row.id}: ${row.fault}, ${outageMs / 1000} s`, async () => {
      const world = new World(row, 'holdfast', await singleStage(row, 1));
      await world.admin.ping();
      if (row.hosts) process.env.OUTAGE_HOSTS = join(world.dir, 'hosts.json');
      if (row.isAbsentAtStart) await row.cause(world);
      const client = await createClient({
        redis: world.stage.redisOf(0).url!,
        journal: folder(),
        log: pino({ level: 'silent' }),
        settings: row.passwordFile ? { REDIS_PASSWORD_FILE: world.passwordFile } : {},
      });
      const runs: number[] = [];
      const producer = new Producer(client);
      await sleep(500);
      if (!row.isAbsentAtStart) await row.cause(world);
      await sleep(outageMs);
      await row.mend(world);
      await sleep(1500);
      await producer.stop();
      await until('the journal is empty of jobs', 60_000, async () => {
        const { waiting = 0 } = await client.counts('q').catch(() => ({ waiting: 0 }));
        return waiting >= producer.next;
      });
      // Consumed afterwards, so that the consumer's own outage has no part in the order.
      const password = row.passwordFile ? await readFile(world.passwordFile, 'utf8') : undefined;
      const worker = new Worker('q', async (job) => void runs.push(job.data.n), {
        connection: { port: world.server.port, ...(password === undefined ? {} : { password }) },
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
      report(row, producer);
      await client.close();
      await world.stop();
    });
  }
});

describe('a producer that dies', () => {
  it('leaves what it accepted to its next life, which adds it once', async () => {
    const server = await startRedis({ aof: 'always' });
    const options = { redis: server.url, journal: folder(), log: pino({ level: 'silent' }) };
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

function report({ id, fault }: Row, { answers }: Producer): void {
  const ms = answers.map((answer) => answer.ms).sort((a, b) => a - b);
  const journaled = answers.filter(({ stored }) => stored === 'journal').length;
  const at = (share: number) => ms[Math.floor(ms.length * share)]!.toFixed(1);
  process.stdout.write(
    `producer ${id.padEnd(5)} ${fault.padEnd(58)} ${ms.length} acknowledged, ${journaled} by the journal; ms p50 ${at(0.5)} p99 ${at(0.99)} max ${ms.at(-1)!.toFixed(0)}\n`,
  );
}
