/**
 * A producer behind a network that can be broken exactly, a server, and a consumer on its own connection
 * that writes down what it runs outside Redis: whether each acknowledged job ran once is told by neither
 * Redis nor the journal.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type JobsOptions, Queue, Worker } from 'bullmq';
import pino from 'pino';
import { createClient } from '../../../src/create-client.ts';
import { journalStatus } from '../../../src/journal/inspect.ts';
import type { Accepted, Client } from '../../../src/queue/client.ts';
import { systemClock } from '../../../src/time.ts';
import { startProxy, type TcpProxy } from '../../support/proxy.ts';
import { type RedisServer, startRedis } from '../../support/redis-server.ts';
import { startTarget, type TestTarget } from '../../support/target.ts';
import { until } from './until.ts';

export const QUEUE = 'q';
export type Consumer = 'plain' | 'holdfast';

/** Between two jobs of the stream that goes on through everything, ms. */
const PACE_MS = 10;
const PATIENCE_MS = 20_000;
/** Quick to see a fault, and with a rollback window that a test can wait for. */
const PRODUCER = { PULSE_INTERVAL: '150ms', PULSE_TIMEOUT: '600ms', ROLLBACK_WINDOW: '1s' };

export class OnceWorld {
  readonly server: RedisServer;
  readonly door: TcpProxy;
  readonly client: Client;
  readonly admin: Queue;
  /** Ids as they ran. */
  readonly runs: string[] = [];
  /** Ids of which each has to run once. */
  readonly owed: string[] = [];
  /** Ids of the stream, in the order in which they were enqueued. */
  readonly stream: string[] = [];
  readonly #folder: string;
  readonly #target: TestTarget | undefined;
  readonly #worker: Worker;
  #isStreaming = true;
  #streaming: Promise<void> = Promise.resolve();

  private constructor(
    server: RedisServer,
    door: TcpProxy,
    client: Client,
    folder: string,
    target: TestTarget | undefined,
  ) {
    this.server = server;
    this.door = door;
    this.client = client;
    this.#folder = folder;
    this.#target = target;
    this.admin = new Queue(QUEUE, { connection: { url: server.url } });
    this.admin.on('error', () => undefined);
    const run = async ({ id }: { id?: string | undefined }): Promise<void> => {
      this.runs.push(id!);
    };
    // One at a time: the order of runs is the order in Redis.
    this.#worker = target
      ? new Worker(QUEUE, run, { connection: target.connection }, target.backendFactory)
      : new Worker(QUEUE, run, { connection: { url: server.url } });
    this.#worker.on('error', () => undefined);
  }

  static async start(consumer: Consumer, enqueueTimeout = 2000): Promise<OnceWorld> {
    const server = await startRedis({ aof: 'always' });
    const door = await startProxy(server.port);
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-once-'));
    const client = await createClient({
      redis: door.url,
      journal: folder,
      enqueueTimeout,
      settings: PRODUCER,
      log: pino({ level: process.env.TEST_LOG ?? 'silent' }),
    });
    const target =
      consumer === 'plain'
        ? undefined
        : await startTarget(server.url, { resilience: { pulseIntervalMs: 150 } });
    return new OnceWorld(server, door, client, folder, target);
  }

  /** Jobs one after the other from now on, without a pause for faults. */
  beginStream(): void {
    this.#streaming = this.#stream();
  }

  async #stream(): Promise<void> {
    const calls: Promise<Accepted>[] = [];
    while (this.#isStreaming) {
      const id = `stream-${this.stream.length}`;
      this.stream.push(id);
      // Every other one leaves nothing behind that a second add of it could meet.
      const options = { jobId: id, removeOnComplete: this.stream.length % 2 === 0 };
      calls.push(this.client.enqueue(QUEUE, 'stream', {}, options));
      await sleep(PACE_MS);
    }
    await Promise.all(calls);
  }

  /** Resolves when each of these has run, and Redis has the end of it: removed, or kept as completed. */
  async haveRun(ids: readonly string[]): Promise<void> {
    await until(`${ids} have run`, PATIENCE_MS, async () => {
      if (!ids.every((id) => this.runs.includes(id))) return false;
      const states = await Promise.all(ids.map((id) => this.admin.getJobState(id)));
      return states.every((state) => state === 'unknown' || state === 'completed');
    });
  }

  /** All is well again: waits until nothing is left to be added or run anywhere, and ends the producer. */
  async settle(): Promise<void> {
    this.#isStreaming = false;
    await this.#streaming;
    const owed = [...this.owed, ...this.stream];
    await until('the journal is empty', PATIENCE_MS, () => {
      const [status] = journalStatus(this.#folder);
      return status !== undefined && status.jobs + status.refused === 0;
    });
    await until('nothing waits in Redis', PATIENCE_MS, async () => {
      if (this.runs.length < owed.length) return false;
      const { completed: _, ...open } = await this.admin.getJobCounts();
      return Object.values(open).every((count) => count === 0);
    });
  }

  async stop(): Promise<void> {
    this.#isStreaming = false;
    await this.#streaming.catch(() => undefined);
    await this.client.close();
    await this.#worker.close(true);
    await this.#target?.stop(systemClock.now() + 1000);
    await this.admin.close();
    await this.door.stop();
    await this.server.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** One way to enqueue. */
export interface Way {
  name: string;
  /** Stands in the first bytes of the request that is to be met. */
  text(mark: string): string;
  /** Resolves with all that was accepted by it, those that are expected to run. */
  enqueue(client: Client, mark: string, options: JobsOptions): Promise<string[]>;
}

const single = (name: string, more: JobsOptions & { own?: boolean }): Way => ({
  name,
  text: (mark) => mark,
  async enqueue(client, mark, options) {
    const { own, ...rest } = more;
    const jobId = own ? { jobId: mark } : {};
    const deduplication = rest.deduplication ? { deduplication: { id: mark } } : {};
    const all = { ...options, ...rest, ...jobId, ...deduplication };
    return [(await client.enqueue(QUEUE, name, { mark }, all)).id];
  },
});

export const ways: readonly Way[] = [
  single('plain', {}),
  single('own id', { own: true }),
  single('delayed', { delay: 100 }),
  single('prioritised', { priority: 3 }),
  single('deduplicated', { deduplication: { id: '' } }),
  {
    name: 'many',
    // The one in the middle.
    text: (mark) => `${mark}/1`,
    async enqueue(client, mark, options) {
      const jobs = [0, 1, 2].map((n) => ({
        name: 'many',
        data: { mark: `${mark}/${n}` },
        options,
      }));
      return (await client.enqueueMany(QUEUE, jobs)).map(({ id }) => id);
    },
  },
  {
    name: 'flow',
    // Nothing else of a producer's is a transaction, and its first command is the whole of its head.
    text: () => '$5\r\nmulti\r\n',
    async enqueue(client, mark, options) {
      const children = [1, 2].map((n) => ({
        queue: QUEUE,
        name: 'child',
        data: { mark },
        options: { ...options, jobId: `${mark}-child-${n}` },
      }));
      // It stays: a child that is added again would find its parent.
      const own = { jobId: mark };
      await client.flow({ queue: QUEUE, name: 'flow', data: { mark }, options: own, children });
      return [...children.map((child) => child.options.jobId), mark];
    },
  },
];
