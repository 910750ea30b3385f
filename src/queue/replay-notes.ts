/**
 * How often is told that the journal's jobs are in Redis: at once after an outage, and at most once a
 * minute otherwise. A Redis that is slow sends jobs through the journal many times a second, which is no
 * news each time.
 */
import type { Clock, Instant } from '../time.ts';

const BETWEEN_MS = 60_000;

export class ReplayNotes {
  readonly #clock: Clock;
  readonly #tell: (jobs: number) => void;
  /** When the next may be told. */
  #from: Instant = Number.NEGATIVE_INFINITY;
  #untold = 0;
  #cancel: (() => void) | undefined;

  /** @param tell hears how many jobs since it was told last */
  constructor(clock: Clock, tell: (jobs: number) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** What is replayed next was kept in an outage that is over. */
  outageOver(): void {
    this.#from = Number.NEGATIVE_INFINITY;
  }

  replayed(jobs: number): void {
    this.#untold += jobs;
    const waitMs = this.#from - this.#clock.now();
    if (waitMs <= 0) this.#tellAll();
    else this.#cancel ??= this.#clock.after(waitMs, () => this.#tellAll());
  }

  /** Tells what is left. */
  stop(): void {
    if (this.#untold > 0) this.#tellAll();
  }

  #tellAll(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#from = this.#clock.now() + BETWEEN_MS;
    const jobs = this.#untold;
    this.#untold = 0;
    this.#tell(jobs);
  }
}
