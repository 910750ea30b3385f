/**
 * Locks as a handler feels them: lost to another worker, or, for queues that asked for it, about to
 * expire in an outage that may be ours alone. Says so to whoever runs the handlers.
 */
import type { Logger } from 'pino';
import type { Clock } from '../time.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';
import type { LockEvent } from './target.ts';
import type { Verdict } from './target-core.ts';

/** Before its lock can expire a run that must not overlap is told to stop, this much earlier, ms. */
const EXPIRY_MARGIN_MS = 2000;
/** Locks are looked at this often while the breaker is not closed, ms. */
const LOOK_MS = 250;

export class Leases {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<(event: LockEvent) => void>();
  readonly #ledgers: () => Iterable<QueueLedger>;
  #told = new WeakSet<HeldJob>();
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, log: Logger, ledgers: () => Iterable<QueueLedger>) {
    this.#clock = clock;
    this.#log = log;
    this.#ledgers = ledgers;
  }

  on(listener: (event: LockEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  lost(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void {
    job.isLost = true;
    if (this.#told.has(job)) return;
    this.#told.add(job);
    this.#log.warn(
      { event: 'lock.lost', queue: ledger.queue, jobId: job.id, jobName: job.name, verdict },
      'another worker has the job: its run here is told to stop, its outcome will not be recorded',
    );
    this.#tell('lost', ledger, job);
  }

  /** The outcome of a run was not recorded. */
  dropped(ledger: QueueLedger, job: HeldJob): void {
    this.#tell('dropped', ledger, job);
  }

  /** While the breaker is not closed nobody renews: who must not overlap stops in time. */
  watch(): void {
    this.#cancel ??= this.#clock.after(LOOK_MS, () => {
      this.#cancel = undefined;
      this.#look();
      this.watch();
    });
  }

  rest(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #look(): void {
    const now = this.#clock.now();
    for (const ledger of this.#ledgers()) {
      if (ledger.onLeaseLost !== 'abort') continue;
      const margin = Math.min(EXPIRY_MARGIN_MS, ledger.lockMs / 4);
      for (const job of ledger.held.values()) {
        // It was never in Redis: nobody else can take it.
        if (job.processedOn !== undefined) continue;
        if (now < job.lockedAt + job.lockMs - margin || this.#told.has(job)) continue;
        this.#told.add(job);
        this.#tell('expiring', ledger, job);
      }
    }
  }

  #tell(type: LockEvent['type'], ledger: QueueLedger, job: HeldJob): void {
    const { prefix, queue } = ledger;
    for (const listener of this.#listeners) {
      listener({ type, prefix, queue, jobId: job.id, token: job.token });
    }
  }
}
