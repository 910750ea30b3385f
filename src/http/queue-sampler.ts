/**
 * What the status page shows of the queues: counts, the oldest job that could begin and whether it is paused from Redis, and how many
 * jobs end here per minute. Many watchers share one reading. While Redis is away the last reading stays,
 * with its time: unknown is not zero.
 */
import type { Client } from '../queue/client.ts';
import { lookAtQueue, type QueueLook } from '../queue/next-job.ts';
import { within } from '../within.ts';
import type { HttpContext, QueueConsumption } from './context.ts';

export interface QueueReading {
  waiting: number;
  active: number;
  delayed: number;
  failed: number;
  /** Since when the job that is next has been due, ms since the epoch. */
  oldestAt: number | null;
  isPaused: boolean;
  /** ms since the epoch */
  readAt: number;
}

/** A reading is shared for so long, ms. */
const FRESH_MS = 900;
/** A page waits so long for Redis, then shows what it knew, ms. */
const READ_WITHIN_MS = 1500;
/** The rate is that of this time, looked at in these steps, ms. */
const RATE_OVER_MS = 60_000;
const RATE_STEP_MS = 5000;

export class QueueSampler {
  readonly #client: Client;
  readonly #redis: HttpContext['redis'];
  readonly #prefix: string;
  readonly #queues: () => readonly QueueConsumption[];
  readonly #readings = new Map<string, QueueReading>();
  /** Jobs that had ended by an instant of the monotonic clock, oldest first. */
  readonly #ended: { at: number; counts: ReadonlyMap<string, number> }[] = [];
  #reading: Promise<void> | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(context: Pick<HttpContext, 'client' | 'redis' | 'config' | 'consumption'>) {
    this.#client = context.client;
    this.#redis = context.redis;
    this.#prefix = context.config.redis.prefix;
    this.#queues = () => context.consumption().queues;
  }

  /** Begins to count what ends here, until `signal` aborts. */
  start(signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#countEnded();
    this.#timer = setInterval(() => this.#countEnded(), RATE_STEP_MS).unref();
    signal.addEventListener('abort', () => clearInterval(this.#timer), { once: true });
  }

  /** Reads anew unless that was done just now; never fails, never waits long. */
  async refresh(): Promise<void> {
    if (performance.now() - this.#readAt < FRESH_MS) return;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
      this.#readAt = performance.now();
    });
    await this.#reading;
  }

  of(queue: string): QueueReading | undefined {
    return this.#readings.get(queue);
  }

  /** Jobs of the queue that end here per minute; undefined before there is something to compare. */
  perMinute(queue: string, finished: number | undefined): number | undefined {
    const [first] = this.#ended;
    if (finished === undefined || first === undefined) return undefined;
    const overMs = performance.now() - first.at;
    if (overMs < 1000) return undefined;
    const since = finished - (first.counts.get(queue) ?? 0);
    return Math.round((since * 60_000) / Math.max(overMs, RATE_STEP_MS));
  }

  #countEnded(): void {
    const at = performance.now();
    const counts = new Map(this.#queues().map(({ queue, finished = 0 }) => [queue, finished]));
    this.#ended.push({ at, counts });
    while (at - this.#ended[0]!.at > RATE_OVER_MS) this.#ended.shift();
  }

  async #readAll(): Promise<void> {
    await Promise.allSettled(this.#queues().map(({ queue }) => this.#read(queue)));
  }

  async #read(queue: string): Promise<void> {
    const found = Promise.all([this.#client.counts(queue), this.#look(queue)]);
    const [counts, { isPaused, dueAt }] = await within(found, READ_WITHIN_MS, 'reading the queue');
    const { waiting = 0, prioritized = 0, active = 0, delayed = 0, failed = 0 } = counts;
    this.#readings.set(queue, {
      waiting: waiting + prioritized,
      active,
      delayed,
      failed,
      oldestAt: dueAt ?? null,
      isPaused,
      readAt: Date.now(),
    });
  }

  async #look(queue: string): Promise<QueueLook> {
    const client = this.#redis();
    if (client === undefined) return { isPaused: false, dueAt: undefined };
    return await lookAtQueue(client, this.#prefix, queue);
  }
}
