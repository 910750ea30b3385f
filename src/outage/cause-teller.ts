/**
 * When the cause of an outage is told. A connection that ends says nothing of why, so the first line waits
 * a moment for the first probe's verdict; and what turns out to be another cause later is told as such,
 * once it has stood for a while. Needs timers, writes nothing itself.
 */
import type { Clock, Instant } from '../time.ts';

/** The first line waits so long for a verdict, ms. A small fleet's first probe takes 50 ms. */
export const VERDICT_WAIT_MS = 300;
/** Another cause must stand for so long to be told: a server that starts shows several in turn, ms. */
export const CAUSE_STANDS_MS = 1000;
/** And then no other is told for so long, ms: no more than 4 a minute. */
export const CAUSE_EVERY_MS = 15_000;

export interface CauseTellerOptions {
  clock: Clock;
  isProvisional(condition: string): boolean;
  /** `isFirst`: the line that opens the outage. */
  tell(condition: string, isFirst: boolean): void;
}

export class CauseTeller {
  readonly #options: CauseTellerOptions;
  #condition = '';
  #told: string | undefined;
  #toldAt: Instant = Number.NEGATIVE_INFINITY;
  #cancel: (() => void) | undefined;

  constructor(options: CauseTellerOptions) {
    this.#options = options;
  }

  /** What is known to be wrong now. */
  get condition(): string {
    return this.#condition;
  }

  /** An outage begins. */
  opened(condition: string): void {
    const { clock, isProvisional } = this.#options;
    this.end();
    this.#told = undefined;
    this.#toldAt = Number.NEGATIVE_INFINITY;
    this.#condition = condition;
    if (isProvisional(condition)) {
      this.#cancel = clock.after(VERDICT_WAIT_MS, () => this.#tell());
    } else this.#tell();
  }

  /** Something is wrong; a provisional word takes the place of no other. */
  saw(condition: string): void {
    if (condition === this.#condition || this.#options.isProvisional(condition)) return;
    this.#condition = condition;
    if (this.#told === undefined || this.#options.isProvisional(this.#told)) this.#tell();
    else this.#tellLater(CAUSE_STANDS_MS);
  }

  /** The first line is written now, if it was not: another is to follow it. */
  flush(): void {
    if (this.#told === undefined) this.#tell();
  }

  /** Nothing more is told of this outage. */
  end(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #tellLater(afterMs: number): void {
    const { clock } = this.#options;
    this.end();
    if (this.#condition === this.#told) return;
    const waitMs = Math.max(afterMs, this.#toldAt + CAUSE_EVERY_MS - clock.now());
    this.#cancel = clock.after(waitMs, () => this.#tell());
  }

  #tell(): void {
    this.end();
    const isFirst = this.#told === undefined;
    this.#told = this.#condition;
    // The first correction follows soon, whenever it is known.
    if (!isFirst) this.#toldAt = this.#options.clock.now();
    this.#options.tell(this.#condition, isFirst);
  }
}
