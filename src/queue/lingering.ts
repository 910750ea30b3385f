/**
 * Entries that Redis has and that stay on disk for the rollback window: a restart that loses its last
 * moments loses the numbers too, and then they are sent again.
 */
import type { Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock, Instant } from '../time.ts';
import type { Generation } from './generation.ts';

export interface LingeringDeps {
  clock: Clock;
  rollbackWindowMs: number;
  generation(): Generation | undefined;
  onTrouble(ledger: undefined, error: unknown): void;
}

export class Lingering {
  readonly #deps: LingeringDeps;
  readonly #journal: Pick<Journal, 'settle'>;
  /** Oldest first. */
  #batches: { positions: Position[]; at: Instant }[] = [];
  #cancelSweep: (() => void) | undefined;
  #isStopped = false;

  constructor(deps: LingeringDeps, journal: Pick<Journal, 'settle'>) {
    this.#deps = deps;
    this.#journal = journal;
  }

  get isEmpty(): boolean {
    return this.#batches.length === 0;
  }

  /** Redis has these since now. */
  add(positions: Position[]): void {
    this.#batches.push({ positions, at: this.#deps.clock.now() });
    this.#sweepLater();
  }

  /** Redis may not have them any more: they stay in the journal. */
  forget(): void {
    this.#batches = [];
  }

  /** Takes what Redis has out of the journal. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelSweep?.();
    await this.#settle(Number.POSITIVE_INFINITY);
  }

  #sweepLater(): void {
    const { clock, rollbackWindowMs } = this.#deps;
    if (this.#isStopped) return;
    this.#cancelSweep ??= clock.after(Math.max(1, rollbackWindowMs), () => {
      this.#cancelSweep = undefined;
      // The window stands still while Redis is away.
      const until = this.#deps.generation() ? clock.now() - rollbackWindowMs : 0;
      void this.#settle(until).finally(() => {
        if (!this.isEmpty) this.#sweepLater();
      });
    });
  }

  async #settle(until: Instant): Promise<void> {
    const positions: Position[] = [];
    while (this.#batches.length > 0 && this.#batches[0]!.at <= until) {
      positions.push(...this.#batches.shift()!.positions);
    }
    try {
      if (positions.length > 0) await this.#journal.settle(positions);
    } catch (error) {
      // They are met again by the next start, whose numbers say that Redis has them.
      this.#deps.onTrouble(undefined, error);
    }
  }
}
