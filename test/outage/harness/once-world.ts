/**
 * A producer behind a network that can be broken exactly, a server, and a consumer on its own connection
 * that writes down what it runs outside Redis: whether each acknowledged job ran once is told by neither
 * Redis nor the journal.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Job, Queue, Worker } from 'bullmq';
import { type FolderStatus, journalStatus } from '../../../src/journal/inspect.ts';
import { systemClock } from '../../../src/time.ts';
import { startProxy, type TcpProxy } from '../../support/proxy.ts';
import { type RedisServer, startRedis } from '../../support/redis-server.ts';
import { startTarget, type TestTarget } from '../../support/target.ts';
import { OnceProducer } from './once-producer.ts';
import { QUEUE } from './once-ways.ts';
import { until } from './until.ts';

/** A worker of BullMQ's, or one over Holdfast's backend. */
export type Consumer = 'plain' | 'holdfast';

/** Between two jobs of the stream that goes on through everything, ms. */
const PACE_MS = 10;
const PATIENCE_MS = 30_000;
const PULSE_MS = 150;

export interface Run {
  id: string;
  mark: string;
}

export class OnceWorld {
  readonly server: RedisServer;
  readonly door: TcpProxy;
  readonly admin: Queue;
  readonly runs: Run[] = [];
  /** Ids that were acknowledged, each of which has to run once. */
  readonly owed: string[] = [];
  /** Ids of jobs that run in this order; none where one was not acknowledged. */
  readonly #stream: (string | undefined)[] = [];
  producer: OnceProducer;
  readonly #earlierErrors: string[] = [];
  readonly #settings: Readonly<Record<string, string>> | undefined;
  readonly #folder = mkdtempSync(join(tmpdir(), 'holdfast-once-'));
  readonly #target: TestTarget | undefined;
  #worker: Worker;
  #isStreaming = false;
  #streaming: Promise<void> = Promise.resolve();
  /** Acknowledgements that are still to come. */
  readonly #open = new Set<Promise<unknown>>();

  private constructor(
    server: RedisServer,
    door: TcpProxy,
    target: TestTarget | undefined,
    settings: Readonly<Record<string, string>> | undefined,
  ) {
    this.server = server;
    this.door = door;
    this.#target = target;
    this.#settings = settings;
    this.producer = this.#newProducer();
    this.admin = new Queue(QUEUE, { connection: { url: server.url } });
    this.admin.on('error', () => undefined);
    this.#worker = this.#newWorker();
  }

  #newWorker(): Worker {
    const run = async ({ id, data }: Job): Promise<void> => {
      this.runs.push({ id: id!, mark: data.mark });
    };
    const target = this.#target;
    // One at a time: the order of runs is the order in Redis.
    const worker = target
      ? new Worker(QUEUE, run, { connection: target.connection }, target.backendFactory)
      : new Worker(QUEUE, run, { connection: { url: this.server.url } });
    worker.on('error', () => undefined);
    return worker;
  }

  /** @param settings further ones of the producer */
  static async start(
    consumer: Consumer,
    settings?: Readonly<Record<string, string>>,
  ): Promise<OnceWorld> {
    const server = await startRedis({ aof: 'always' });
    const door = await startProxy(server.port);
    const resilience = { pulseIntervalMs: PULSE_MS };
    const target = consumer === 'plain' ? undefined : await startTarget(server.url, { resilience });
    return new OnceWorld(server, door, target, settings);
  }

  #newProducer(): OnceProducer {
    const { url } = this.door;
    return new OnceProducer({ redis: url, journal: this.#folder, settings: this.#settings });
  }

  /** What the producer could not keep, in all its lives. */
  get errors(): string[] {
    return [...this.#earlierErrors, ...this.producer.errors];
  }

  /** Resolves with the ids when it is acknowledged; they are owed from then on. */
  async enqueue(way: string, mark: string, removes: boolean): Promise<string[]> {
    const answer = this.producer.enqueue(way, mark, removes ? { removeOnComplete: true } : {});
    this.#open.add(answer);
    const ids = await answer;
    this.#open.delete(answer);
    this.owed.push(...ids);
    return ids;
  }

  /** Jobs one after the other from now on, without a pause for faults. */
  beginStream(): void {
    this.#isStreaming = true;
    this.#streaming = this.#streamOn();
  }

  async #streamOn(): Promise<void> {
    for (let n = 0; this.#isStreaming; n += 1) {
      this.inStream(`stream ${n}`, n % 2 === 0);
      await sleep(PACE_MS);
    }
  }

  inStream(mark: string, removes: boolean): void {
    // Its place is that of the call, whenever it is acknowledged.
    const place = this.#stream.push(undefined) - 1;
    void this.enqueue('plain', mark, removes).then(([id]) => {
      this.#stream[place] = id;
    });
  }

  /** The producer dies and its next life begins in the same folder. */
  async restartProducer(): Promise<void> {
    await this.producer.kill();
    this.#earlierErrors.push(...this.producer.errors);
    // What it had not acknowledged, it owes nobody.
    this.#open.clear();
    this.producer = this.#newProducer();
  }

  /** A plain worker that is cut off while it runs a job may run it twice, or stay away: no producer's doing. */
  async rest(): Promise<void> {
    if (!this.#target) await this.#worker.close();
  }

  goOn(): void {
    if (!this.#target) this.#worker = this.#newWorker();
  }

  /** Resolves when a job has run whose mark begins so. */
  async hasRun(mark: string): Promise<void> {
    await until(`${mark} has run`, PATIENCE_MS, () => {
      return this.runs.some((run) => run.mark.startsWith(mark));
    });
  }

  /** Resolves when each of these has run, and Redis has the end of it: removed, or kept as completed. */
  async haveRun(ids: readonly string[]): Promise<void> {
    await until(`${ids} have run`, PATIENCE_MS, async () => {
      if (!ids.every((id) => this.runs.some((run) => run.id === id))) return false;
      const states = await Promise.all(ids.map((id) => this.admin.getJobState(id)));
      return states.every((state) => state === 'unknown' || state === 'completed');
    });
  }

  /** All is well again: waits until all is acknowledged, and nothing is left to be added or run anywhere. */
  async settle(): Promise<void> {
    this.#isStreaming = false;
    await this.#streaming;
    await until('all is acknowledged', PATIENCE_MS, () => {
      return this.#open.size <= this.producer.errors.length;
    });
    let status: FolderStatus | undefined;
    await until('the journal is empty', PATIENCE_MS, () => {
      [status] = journalStatus(this.#folder);
      if (status?.owner !== 'living' || status.unreadable !== undefined) return false;
      return status.jobs + status.refused === 0;
    }).catch((error: unknown) => {
      const seen = [JSON.stringify(status), ...this.producer.lastLines].join('\n');
      throw new Error(`the journal is not empty:\n${seen}`, { cause: error });
    });
    let counts: Record<string, number> = {};
    await until('nothing waits in Redis', PATIENCE_MS, async () => {
      const { completed: _, ...open } = await this.admin.getJobCounts();
      counts = open;
      return Object.values(open).every((count) => count === 0);
    }).catch((error: unknown) => {
      throw new Error(`jobs are left in Redis: ${JSON.stringify(counts)}`, { cause: error });
    });
  }

  /** Ids for which a promise was broken. */
  verdict(): { lost: string[]; twice: string[]; outOfOrder: string[] } {
    const order = new Map<string, number>();
    const twice: string[] = [];
    for (const [place, { id }] of this.runs.entries()) {
      if (order.has(id)) twice.push(id);
      else order.set(id, place);
    }
    const lost = this.owed.filter((id) => !order.has(id));
    const places = this.#stream.flatMap((id) =>
      id === undefined ? [] : [{ id, at: order.get(id)! }],
    );
    const outOfOrder = places.filter(({ at }, i) => i > 0 && at < places[i - 1]!.at);
    return { lost, twice, outOfOrder: outOfOrder.map(({ id }) => id) };
  }

  async stop(): Promise<void> {
    this.#isStreaming = false;
    this.server.thaw();
    await this.producer.kill();
    await this.#worker.close(true);
    await this.#target?.stop(systemClock.now() + 1000);
    await this.admin.close();
    await this.door.stop();
    await this.server.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
