/**
 * How full the queues are and how old their next job is, for metrics: asked of Redis when somebody looks,
 * at a bounded pace, and shared by all who look. Figures that are too old to be true are none.
 *
 * What it must never do: fail, or ask while the last question is still open.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Clock, Instant } from '../time.ts';
import { lookAtQueue } from './next-job.ts';

export interface QueueFigure {
  queue: string;
  /** By BullMQ's state. */
  counts: Readonly<Record<string, number>>;
  /** An operator paused it: nobody takes jobs of it, and they wait where they are. */
  isPaused: boolean;
  /** For how long the next job has been due, ms; 0 without one. */
  oldestAgeMs: number;
}

export interface QueueFiguresOptions {
  clock: Clock;
  queues: readonly string[];
  /** BullMQ's key prefix. */
  prefix: string;
  /** The pause before another try where a job says none: that of the queue's handler. */
  backoffOf?(queue: string): unknown;
  counts(queue: string): Promise<Record<string, number>>;
  /** The connection, and the server's wall clock (ms since the epoch); undefined while Redis is away. */
  redis(): { client: Redis | Cluster; serverNow(): number } | undefined;
}

/** However often somebody looks, Redis is asked once in this time, ms. */
const ASK_EVERY_MS = 3000;
/** Whoever looks waits for new figures so long at most, ms. */
const LOOK_MS = 200;
/** Figures are shown for so long, ms: longer than usual pauses between scrapes … */
const STALE_MS = 120_000;
/** … but while Redis is away for so long only: nobody knows what is in it then. */
const STALE_AWAY_MS = 15_000;

export class QueueFigures {
  readonly #options: QueueFiguresOptions;
  /** Times that Redis could not be asked. */
  failures = 0;
  #figures: readonly QueueFigure[] = [];
  #askedAt: Instant = Number.NEGATIVE_INFINITY;
  #answeredAt: Instant = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;

  constructor(options: QueueFiguresOptions) {
    this.#options = options;
  }

  /** Has new figures fetched if it is time for that, and waits a moment for them. Never rejects. */
  async look(): Promise<void> {
    const { clock, redis } = this.#options;
    if (!this.#asking) {
      if (clock.now() - this.#askedAt < ASK_EVERY_MS || redis() === undefined) return;
      this.#askedAt = clock.now();
      this.#asking = this.#ask().finally(() => {
        this.#asking = undefined;
      });
    }
    let cancel = (): void => {};
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(LOOK_MS, resolve);
    });
    await Promise.race([this.#asking, late]);
    cancel();
  }

  /** The last figures; none when they are too old. */
  get current(): readonly QueueFigure[] {
    const { clock, redis } = this.#options;
    const limitMs = redis() === undefined ? STALE_AWAY_MS : STALE_MS;
    return clock.now() - this.#answeredAt > limitMs ? [] : this.#figures;
  }

  /** Whether the queue was paused when it was last looked at. */
  isPaused(queue: string): boolean {
    return this.current.some((figure) => figure.queue === queue && figure.isPaused);
  }

  /** Every request under way is rejected when an outage begins, so this always ends. */
  async #ask(): Promise<void> {
    const { clock, queues } = this.#options;
    try {
      this.#figures = await Promise.all(queues.map((queue) => this.#figure(queue)));
      this.#answeredAt = clock.now();
    } catch {
      this.failures += 1;
    }
  }

  async #figure(queue: string): Promise<QueueFigure> {
    const { prefix, redis, backoffOf } = this.#options;
    const connection = redis();
    if (!connection) throw new Error('Redis is away');
    const [counts, { isPaused, dueAt }] = await Promise.all([
      this.#options.counts(queue),
      lookAtQueue(connection.client, prefix, queue, backoffOf?.(queue)),
    ]);
    const oldestAgeMs = dueAt === undefined ? 0 : Math.max(0, connection.serverNow() - dueAt);
    return { queue, counts, isPaused, oldestAgeMs };
  }
}
