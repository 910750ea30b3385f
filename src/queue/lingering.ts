/**
 * Entries that Redis has and that stay on disk for the rollback window: a restart that loses its last
 * moments loses the numbers too, and then they are sent again. A stop does not shorten the window: what is
 * younger stays, marked, for the next life or an adopter.
 */
import type { Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock, Instant } from '../time.ts';
import type { Generation } from './generation.ts';

export interface LingeringDeps {
  clock: Clock;
  rollbackWindowMs: number;
  generation(): Generation | undefined;
  /** The journal does not have these any more. */
  onForgotten?(positions: readonly Position[]): void;
  onTrouble(ledger: undefined, error: unknown): void;
}

/** Marked in one transaction: 20 ms. */
const MARKED_AT_ONCE = 1000;
/** A stop takes no longer for it, ms. */
const MARKING_MS = 1000;

export class Lingering {
  readonly #deps: LingeringDeps;
  readonly #journal: Pick<Journal, 'settle' | 'mark' | 'lingers'>;
  /** Oldest first. */
  #batches: { positions: Position[]; at: Instant; isRun: boolean }[] = [];
  #cancelSweep: (() => void) | undefined;
  #isStopped = false;

  constructor(deps: LingeringDeps, journal: Pick<Journal, 'settle' | 'mark' | 'lingers'>) {
    this.#deps = deps;
    this.#journal = journal;
  }

  get isEmpty(): boolean {
    return this.#batches.length === 0;
  }

  has(position: Position): boolean {
    return this.#batches.some(({ positions }) => positions.includes(position));
  }

  /** Redis has these since now. `isRun`: their mark says that they ran from the journal, and has to stay. */
  add(positions: Position[], isRun: boolean): void {
    if (positions.length === 0) return;
    this.#batches.push({ positions, at: this.#deps.clock.now(), isRun });
    this.#sweepLater();
  }

  /** Redis may not have them any more: they stay in the journal. */
  forget(): void {
    this.#batches = [];
  }

  /** Takes what the window need not keep any more out of the journal, and marks the rest. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelSweep?.();
    await this.#settle(this.#windowStart());
    const marked = this.#batches.flatMap(({ positions, isRun }) => (isRun ? [] : positions));
    for (const { positions, isRun } of this.#batches) {
      if (isRun) this.#journal.lingers(positions.length);
    }
    this.#batches = [];
    const giveUpAt = this.#deps.clock.now() + MARKING_MS;
    try {
      for (let from = 0; from < marked.length; from += MARKED_AT_ONCE) {
        // Unmarked ones are told by their numbers as well, only not for ever.
        if (this.#deps.clock.now() > giveUpAt) return;
        await this.#journal.mark(marked.slice(from, from + MARKED_AT_ONCE), 'lingering');
      }
    } catch (error) {
      this.#deps.onTrouble(undefined, error);
    }
  }

  /** The window stands still while Redis is away. */
  #windowStart(): Instant {
    const { clock, rollbackWindowMs } = this.#deps;
    return this.#deps.generation() ? clock.now() - rollbackWindowMs : 0;
  }

  #sweepLater(): void {
    const { clock, rollbackWindowMs } = this.#deps;
    if (this.#isStopped) return;
    this.#cancelSweep ??= clock.after(Math.max(1, rollbackWindowMs), () => {
      this.#cancelSweep = undefined;
      void this.#settle(this.#windowStart()).finally(() => {
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
      if (positions.length === 0) return;
      await this.#journal.settle(positions);
      this.#deps.onForgotten?.(positions);
    } catch (error) {
      // They are met again by the next start, whose numbers say that Redis has them.
      this.#deps.onTrouble(undefined, error);
    }
  }
}
