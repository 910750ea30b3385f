/**
 * The ledgers of all queues that this process uses, one for each queue and prefix. A producer may make names
 * up: a ledger that holds nothing and that nobody uses goes when there are many.
 */
import type { Clock, Instant } from '../time.ts';
import { QueueLedger } from './ledger.ts';

/** So many are kept without asking whether they are used. */
const IDLE_MAX = 512;
/** Whoever asked for a ledger has done with it by then, ms: commands are given up much sooner. */
const IN_USE_MS = 60_000;

interface Known {
  ledger: QueueLedger;
  askedAt: Instant;
}

export class Ledgers {
  readonly #clock: Clock;
  readonly #forget: (ledger: QueueLedger) => boolean;
  readonly #byName = new Map<string, Known>();
  #sweepAt = IDLE_MAX;

  /** @param forget lets go of what others know of the ledger; false if something is owed to its queue */
  constructor(clock: Clock, forget: (ledger: QueueLedger) => boolean) {
    this.#clock = clock;
    this.#forget = forget;
  }

  of(prefix: string, queue: string): QueueLedger {
    const name = `${prefix}:${queue}`;
    const askedAt = this.#clock.now();
    const known = this.#byName.get(name);
    if (known) {
      known.askedAt = askedAt;
      return known.ledger;
    }
    if (this.#byName.size >= this.#sweepAt) this.#sweep();
    const ledger = new QueueLedger(prefix, queue);
    this.#byName.set(name, { ledger, askedAt });
    return ledger;
  }

  /** Undefined for a queue that is not used here. */
  known(prefix: string, queue: string): QueueLedger | undefined {
    return this.#byName.get(`${prefix}:${queue}`)?.ledger;
  }

  *all(): Generator<QueueLedger> {
    for (const { ledger } of this.#byName.values()) yield ledger;
  }

  /** As many again may come before the next look, so that looking costs little however many are used. */
  #sweep(): void {
    const since = this.#clock.now() - IN_USE_MS;
    for (const [name, { ledger, askedAt }] of this.#byName) {
      if (askedAt < since && ledger.isIdle && this.#forget(ledger)) this.#byName.delete(name);
    }
    this.#sweepAt = Math.max(IDLE_MAX, 2 * this.#byName.size);
  }

  /** Jobs in flight here, and outcomes that Redis does not have yet. */
  heldCount(): number {
    let held = 0;
    for (const ledger of this.all()) held += ledger.held.size + ledger.unsettled.size;
    return held;
  }
}
