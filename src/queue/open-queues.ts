/**
 * BullMQ's Queue objects that a client has open, by name: bounded, the least recently used goes first, and
 * never one that is in use.
 */
import type { JobsOptions, Queue, RedisQueueBackend } from 'bullmq';
import type { Logger } from 'pino';

/** More than this many names in use is a producer that makes them up. */
const QUEUES_MAX = 256;

export type OwnQueue = Queue<unknown, unknown, string, unknown, unknown, string, RedisQueueBackend>;

export interface OpenQueue {
  readonly queue: OwnQueue;
  /** Calls under way: a queue in use is never closed to make room. */
  calls: number;
}

export class OpenQueues {
  readonly #make: (name: string, defaults?: JobsOptions) => OwnQueue;
  readonly #log: Logger;
  /** Least recently used first. */
  readonly #open = new Map<string, OpenQueue>();
  /** The last of them, which need not be moved. */
  #latest: OpenQueue | undefined;

  constructor(make: (name: string, defaults?: JobsOptions) => OwnQueue, log: Logger) {
    this.#make = make;
    this.#log = log;
  }

  has(name: string): boolean {
    return this.#open.has(name);
  }

  /**
   * For whoever may call it at any time: it is never closed to make room.
   * @param defaults options of its jobs that do not say otherwise; other defaults are another queue object
   */
  keep(name: string, defaults?: JobsOptions): OwnQueue {
    const open = defaults
      ? this.#of(`${name}\0${JSON.stringify(defaults)}`, () => this.#make(name, defaults))
      : this.#of(name);
    open.calls = Number.POSITIVE_INFINITY;
    return open.queue;
  }

  /** For one call: the caller takes one from its `calls` when that is over. */
  take(name: string): OpenQueue {
    const open = this.#of(name);
    open.calls += 1;
    return open;
  }

  async use<T>(name: string, call: (queue: OwnQueue) => Promise<T>): Promise<T> {
    const open = this.take(name);
    try {
      return await call(open.queue);
    } finally {
      open.calls -= 1;
    }
  }

  /** Forgets all of them, for the caller to close. */
  takeAll(): OwnQueue[] {
    const queues = [...this.#open.values()].map(({ queue }) => queue);
    this.#open.clear();
    return queues;
  }

  #of(key: string, make: () => OwnQueue = () => this.#make(key)): OpenQueue {
    const known = this.#open.get(key);
    if (known) {
      if (this.#latest === known) return known;
      // Last in the order of the map: most recently used.
      this.#open.delete(key);
      this.#open.set(key, known);
      this.#latest = known;
      return known;
    }
    this.#makeRoom();
    const queue = make();
    // A failed call rejects; what is only emitted concerns the connection, which the target tells.
    queue.on('error', (error) => this.#tell(queue.name, error));
    const open = { queue, calls: 0 };
    this.#open.set(key, open);
    this.#latest = open;
    return open;
  }

  #makeRoom(): void {
    if (this.#open.size < QUEUES_MAX) return;
    for (const [key, { queue, calls }] of this.#open) {
      if (calls > 0) continue;
      this.#open.delete(key);
      queue.close().catch((error: Error) => this.#tell(queue.name, error));
      return;
    }
  }

  #tell(queue: string, error: Error): void {
    this.#log.debug({ event: 'client.error', queue, error: error.message });
  }
}
