/**
 * Arrivals whose way is about to change: held for a moment, and let go in the order in which they came, so that
 * a job is not journaled only because it came a few milliseconds before Redis could take it.
 */
import type { Clock, Instant } from '../time.ts';
import type { Arrival, Way } from './intake.ts';
import type { Receipt } from './takeover.ts';

/** So many may be held. */
const HELD_MAX = 10_000;

/** Arrivals of one call, which go one way. */
interface Held {
  arrivals: readonly Arrival[];
  /** When their caller is told, whatever happened. */
  by: Instant;
  resolve(receipts: Receipt[]): void;
  reject(error: unknown): void;
}

export interface HeldArrivalsDeps {
  clock: Clock;
  /** How long at most one is held, ms. */
  holdMs(): number;
  way(arrival: Arrival): Way;
  go(arrivals: readonly Arrival[], by: Instant, way: Exclude<Way, 'hold'>): Promise<Receipt[]>;
  /** They have waited long enough: what they waited for did not come. */
  onOverdue(): void;
}

export class HeldArrivals {
  readonly #deps: HeldArrivalsDeps;
  readonly #held: Held[] = [];
  #jobs = 0;
  #cancel: (() => void) | undefined;

  constructor(deps: HeldArrivalsDeps) {
    this.#deps = deps;
  }

  get isEmpty(): boolean {
    return this.#held.length === 0;
  }

  hold(arrivals: readonly Arrival[], by: Instant): Promise<Receipt[]> {
    return new Promise((resolve, reject) => {
      this.#held.push({ arrivals, by, resolve, reject });
      this.#jobs += arrivals.length;
      if (this.#jobs >= HELD_MAX) this.letGo(true);
      else
        this.#cancel ??= this.#deps.clock.after(this.#deps.holdMs(), () => {
          this.#cancel = undefined;
          this.letGo(true);
        });
    });
  }

  /** Those whose way is known; all of them when they have waited long enough. */
  letGo(isOverdue: boolean): void {
    if (isOverdue) this.#deps.onOverdue();
    while (this.#held.length > 0) {
      const { arrivals, by, resolve, reject } = this.#held[0]!;
      const way = this.#deps.way(arrivals[0]!);
      if (way === 'hold' && !isOverdue) return;
      this.#held.shift();
      this.#jobs -= arrivals.length;
      this.#deps.go(arrivals, by, way === 'hold' ? 'keep' : way).then(resolve, reject);
    }
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
