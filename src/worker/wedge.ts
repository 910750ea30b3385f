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

/** A queue as the detector sees it; what it tells is true when it is asked. */
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
  onRebuilt?(queue: string): void;
}

/** Looked at this often within the time that makes a wedge. */
const LOOKS = 3;
/** A worker that was rebuilt so often and still takes nothing needs a new process. */
const REBUILDS_MAX = 3;

export class WedgeDetector {
  readonly #options: WedgeDetectorOptions;
  /** Since when a queue is expected to ask for work: its start, or its last rebuild. */
  readonly #expectedSince = new Map<string, Instant>();
  /** Rebuilds of a queue since a request for work of it was last answered. */
  readonly #inVain = new Map<string, number>();
  #cancel: (() => void) | undefined;
  #isStopped = false;
  /** Workers that were rebuilt. */
  rebuilt = 0;

  constructor(options: WedgeDetectorOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, afterMs } = this.#options;
    const lookMs = afterMs / LOOKS;
    const lookAt = clock.now() + lookMs;
    this.#cancel = clock.after(lookMs, () => {
      // This process stood still: its timers come before the answers that wait in its sockets.
      if (clock.now() - lookAt > lookMs) this.#expectedSince.clear();
      void this.#look().finally(() => {
        if (!this.#isStopped) this.start();
      });
    });
  }

  /** Nothing helped but a new process: its Worker was rebuilt several times, and still asks for nothing. */
  isStuck(queue: string): boolean {
    return (this.#inVain.get(queue) ?? 0) >= REBUILDS_MAX;
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  async #look(): Promise<void> {
    const { closedForMs, queues } = this.#options;
    for (const queue of queues()) {
      const closedMs = closedForMs();
      // Redis is away: that nothing is taken is no fault of a Worker any more.
      if (closedMs === undefined) return this.#inVain.clear();
      await this.#lookAt(queue, closedMs);
    }
  }

  async #lookAt(watched: WatchedQueue, closedMs: number): Promise<void> {
    const { clock, afterMs, sinceTakeAnsweredMs, closedForMs, dueJobs, log } = this.#options;
    const { queue } = watched;
    if (!watched.isConsuming || watched.freeSlots <= 0) {
      this.#expectedSince.set(queue, clock.now());
      this.#inVain.delete(queue);
      return;
    }
    const since = this.#expectedSince.get(queue) ?? clock.now();
    this.#expectedSince.set(queue, since);
    const silence = (closedForMs: number) =>
      Math.min(sinceTakeAnsweredMs(queue), closedForMs, clock.now() - since);
    const limitMs = afterMs + watched.limitMs;
    if (sinceTakeAnsweredMs(queue) < limitMs) this.#inVain.delete(queue);
    // Only a suspicion costs a question.
    if (silence(closedMs) < limitMs) return;
    let due: number;
    try {
      due = await dueJobs(queue);
    } catch {
      return;
    }
    // Asking took a while: an answer, or an outage, may have come.
    const silentMs = silence(closedForMs() ?? 0);
    const evidence = { dueJobs: due, freeSlots: watched.freeSlots, silentMs };
    if (!watched.isConsuming || !isWedged(evidence, limitMs)) return;
    this.rebuilt += 1;
    this.#inVain.set(queue, (this.#inVain.get(queue) ?? 0) + 1);
    this.#options.onRebuilt?.(queue);
    this.#expectedSince.set(queue, clock.now());
    log.error(
      { event: 'worker.rebuilt', queue, ...evidence, rebuilt: this.rebuilt },
      `nothing was taken from queue ${queue} for ${Math.round(silentMs / 1000)} s although ${due} jobs wait and ${evidence.freeSlots} slots are free: its worker is rebuilt`,
    );
    watched.rebuild(evidence);
  }
}
