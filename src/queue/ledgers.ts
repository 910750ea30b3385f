/** The ledgers of all queues that this process uses, one for each queue and prefix. */
import { QueueLedger } from './ledger.ts';

export class Ledgers {
  readonly #byName = new Map<string, QueueLedger>();

  of(prefix: string, queue: string): QueueLedger {
    const name = `${prefix}:${queue}`;
    let ledger = this.#byName.get(name);
    if (!ledger) {
      ledger = new QueueLedger(prefix, queue);
      this.#byName.set(name, ledger);
    }
    return ledger;
  }

  all(): Iterable<QueueLedger> {
    return this.#byName.values();
  }

  /** Jobs in flight here, and outcomes that Redis does not have yet. */
  heldCount(): number {
    let held = 0;
    for (const ledger of this.all()) held += ledger.held.size + ledger.unsettled.size;
    return held;
  }
}
