/**
 * Finds queues from which nothing is taken although jobs wait and slots are free. Consumption is the
 * proof, not a connection's status: every wedge in the field had a green PING.
 *
 * The decision is pure; the detector asks for what it needs and has a Worker rebuilt. An answered
 * request for work is a sign of health whatever it brought, so paused, rate-limited and full queues
 * are never wedged.
 */
import type { Logger } from 'pino';
import type { Clock, Instant } from '../time.ts';

export interface WedgeEvidence {
  /** Jobs that could begin now. */
  dueJobs: number;
  freeSlots: number;
  /** ms since a request for work was answered, or since there was reason to expect one. */
  silentMs: number;
}

export function isWedged(
  { dueJobs, freeSlots, silentMs }: WedgeEvidence,
  afterMs: number,
): boolean {
  return silentMs >= afterMs && freeSlots > 0 && dueJobs > 0;
}

/** A queue as the detector sees it. */
export interface WatchedQueue {
  readonly queue: string;
  /** False while it is not to take work: quiet, stopping, setting up. */
  readonly isConsuming: boolean;
  readonly freeSlots: number;
  /** A limited queue may rightly not ask for so long, ms. */
  readonly limitMs: number;
  rebuild(evidence: WedgeEvidence): void;
}

export interface WedgeDetectorOptions {
  clock: Clock;
  log: Logger;
  afterMs: number;
  queues(): readonly WatchedQueue[];
  /** ms since the breaker closed; undefined while it is not. */
  closedForMs(): number | undefined;
  sinceTakeAnsweredMs(queue: string): number;
  dueJobs(queue: string): Promise<number>;
}

/** Looked at this often within the time that makes a wedge. */
const LOOKS = 3;

export class WedgeDetector {
  readonly #options: WedgeDetectorOptions;
  /** Since when a queue is expected to ask for work: its start, or its last rebuild. */
  readonly #expectedSince = new Map<string, Instant>();
  #cancel: (() => void) | undefined;
  #isStopped = false;
  /** Workers that were rebuilt. */
  rebuilt = 0;

  constructor(options: WedgeDetectorOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, afterMs } = this.#options;
    this.#cancel = clock.after(afterMs / LOOKS, () => {
      void this.#look().finally(() => {
        if (!this.#isStopped) this.start();
      });
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  async #look(): Promise<void> {
    const { closedForMs, queues } = this.#options;
    for (const queue of queues()) {
      const closedMs = closedForMs();
      if (closedMs === undefined) return;
      await this.#lookAt(queue, closedMs);
    }
  }

  async #lookAt(watched: WatchedQueue, closedMs: number): Promise<void> {
    const { clock, afterMs, sinceTakeAnsweredMs, dueJobs, log } = this.#options;
    const { queue } = watched;
    if (!watched.isConsuming || watched.freeSlots <= 0) {
      this.#expectedSince.set(queue, clock.now());
      return;
    }
    const since = this.#expectedSince.get(queue) ?? clock.now();
    this.#expectedSince.set(queue, since);
    const silentMs = Math.min(sinceTakeAnsweredMs(queue), closedMs, clock.now() - since);
    const limitMs = afterMs + watched.limitMs;
    // Only a suspicion costs a question.
    if (silentMs < limitMs) return;
    let due: number;
    try {
      due = await dueJobs(queue);
    } catch {
      return;
    }
    const evidence = { dueJobs: due, freeSlots: watched.freeSlots, silentMs };
    if (!isWedged(evidence, limitMs)) return;
    this.rebuilt += 1;
    this.#expectedSince.set(queue, clock.now());
    log.error(
      { event: 'worker.rebuilt', queue, ...evidence, rebuilt: this.rebuilt },
      `nothing was taken from queue ${queue} for ${Math.round(silentMs / 1000)} s although ${due} jobs wait and ${evidence.freeSlots} slots are free: its worker is rebuilt`,
    );
    watched.rebuild(evidence);
  }
}
