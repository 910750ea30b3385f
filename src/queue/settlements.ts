/**
 * Outcomes between a handler and Redis: on disk while Redis is away, remembered for the rollback
 * window when it has them, dropped and counted when the job turned out to be another's.
 */
import type { Logger } from 'pino';
import type { Kept, OutcomeEntry, Position } from '../journal/entry.ts';
import { type Clock, isDoneWithin } from '../time.ts';
import type { HeldJob, Outcome, QueueLedger } from './ledger.ts';
import { fromEntry, type OutcomeJournal, toEntry } from './outcome-store.ts';
import type { Settlement, Verdict } from './target-core.ts';

export interface SettlementCounts {
  journaled: number;
  replayed: number;
  dropped: number;
  refused: number;
}

/** Nobody waits longer for a slow disk to forget what Redis has, ms. */
const FORGET_MS = 1000;

export class Settlements {
  readonly #journal: OutcomeJournal;
  readonly #clock: Clock;
  readonly #windowMs: number;
  readonly #log: Logger;
  /** Redis has these, and the journal has not forgotten them yet: they are no business of ours. */
  readonly #leaving = new Set<Position>();
  /** Those of them that the journal did not forget when it was asked to. */
  readonly #stuck = new Set<Position>();
  #isSlow = false;
  #isFailing = false;
  readonly counts: SettlementCounts = { journaled: 0, replayed: 0, dropped: 0, refused: 0 };

  constructor(journal: OutcomeJournal, clock: Clock, windowMs: number, log: Logger) {
    this.#journal = journal;
    this.#clock = clock;
    this.#windowMs = windowMs;
    this.#log = log;
  }

  /**
   * Keeps an outcome until Redis has it. It counts as unsettled at once, so that a recovery under way
   * sees it; resolves when it is on disk. A journal that cannot take it leaves it in memory and says
   * so: the handler's work is done either way, and throwing would make BullMQ run it again.
   */
  async keep(ledger: QueueLedger, settlement: Settlement): Promise<Outcome> {
    const { job } = settlement;
    const at = this.#clock.wall();
    const outcome: Outcome = { ...settlement, at, position: undefined };
    ledger.unsettled.set(job.id, outcome);
    ledger.release(job);
    this.counts.journaled += 1;
    try {
      outcome.position = await this.#journal.append(
        toEntry(ledger.prefix, ledger.queue, settlement, at),
      );
      // Settled by a recovery while it went to disk.
      if (ledger.unsettled.get(job.id) !== outcome) await this.#forget([outcome.position]);
    } catch (error) {
      this.#log.error(
        { event: 'journal.append_failed', queue: ledger.queue, jobId: job.id, err: error },
        'an outcome could not be written to the journal; it is kept in memory until Redis is back',
      );
    }
    return outcome;
  }

  /** Redis has it: what the journal still says of it is no news. */
  isLeaving(position: Position): boolean {
    return this.#leaving.has(position);
  }

  /** Says less than another that is on disk. Never rejects. */
  async superseded(positions: readonly Position[]): Promise<void> {
    if (positions.length > 0) await this.#forget(positions);
  }

  /**
   * An outcome of an earlier life, or of a replica that never came back. Of two attempts at one job,
   * which a process that died while it ran from the journal may leave, the later one says what is true.
   */
  adopt(ledgerOf: (prefix: string, queue: string) => QueueLedger, entry: Kept<OutcomeEntry>): void {
    const { unsettled, held } = ledgerOf(entry.prefix, entry.queue);
    const { jobTimestamp, attemptsStarted } = entry;
    if (this.#leaving.has(entry.position)) return;
    const running = held.get(entry.jobId);
    if (running?.timestamp === jobTimestamp && running.attemptsStarted > attemptsStarted) {
      void this.#forget([entry.position]);
      return;
    }
    const known = unsettled.get(entry.jobId);
    if (!known) unsettled.set(entry.jobId, fromEntry(entry));
    else if (known.job.timestamp === jobTimestamp && known.job.attemptsStarted < attemptsStarted) {
      unsettled.set(entry.jobId, fromEntry(entry));
      // What stays of it is met again by the next start, and says less than the later one.
      if (known.position !== undefined) void this.#forget([known.position]);
    }
  }

  /** In calm weather: what is older than the rollback window is forgotten. */
  acknowledged(ledger: QueueLedger, settlement: Settlement): void {
    ledger.forgetBefore(this.#clock.wall() - this.#windowMs);
    this.#remember(ledger, settlement, true);
  }

  #remember(ledger: QueueLedger, settlement: Settlement, isWitness: boolean): void {
    if (this.#windowMs === 0) return;
    const { job, command, args } = settlement;
    ledger.remember({ job, command, args, at: this.#clock.wall(), position: undefined, isWitness });
  }

  /** A recovery or a drain wrote these. The window keeps what it has: it may be about to be healed. */
  async settled(ledger: QueueLedger, outcomes: readonly Outcome[]): Promise<void> {
    const positions: number[] = [];
    for (const outcome of outcomes) {
      if (ledger.unsettled.get(outcome.job.id) === outcome) {
        ledger.unsettled.delete(outcome.job.id);
        this.counts.replayed += 1;
      }
      if (outcome.position !== undefined) positions.push(outcome.position);
      // A replayed outcome can be lost with the server's next death like any other.
      this.#remember(ledger, outcome, false);
    }
    await this.#forget(positions);
  }

  /** Asks again for what the journal did not forget. Never rejects. */
  async forgetStuck(): Promise<void> {
    await this.#forget([]);
  }

  /**
   * Takes out of the journal what Redis has. A journal that fails or hangs must keep nobody from Redis: it is
   * asked again later, and what it still has says nothing new. Never rejects.
   */
  async #forget(positions: readonly Position[]): Promise<void> {
    const all = [...this.#stuck, ...positions];
    if (all.length === 0) return;
    this.#stuck.clear();
    for (const position of all) this.#leaving.add(position);
    const done = this.#journal.settle(all).then(
      () => {
        this.#isSlow = false;
        this.#isFailing = false;
        for (const position of all) this.#leaving.delete(position);
      },
      (error: unknown) => {
        for (const position of all) this.#stuck.add(position);
        // Once, until it works again.
        if (this.#isFailing) return;
        this.#isFailing = true;
        this.#log.error(
          { event: 'journal.forget_failed', entries: this.#stuck.size, err: error },
          'outcomes that Redis has could not be taken out of the journal; it is tried again',
        );
      },
    );
    if (!this.#isSlow) this.#isSlow = !(await isDoneWithin(this.#clock, done, FORGET_MS));
  }

  async refused(ledger: QueueLedger, outcome: Outcome, reason: string): Promise<void> {
    ledger.unsettled.delete(outcome.job.id);
    this.counts.refused += 1;
    this.#log.error(
      { event: 'outcome.refused', queue: ledger.queue, jobId: outcome.job.id, reason },
      'Redis refuses the outcome of a job; it is kept among the refused entries of the journal',
    );
    if (outcome.position === undefined) return;
    const done = this.#journal.refuse(outcome.position, reason).catch((error: unknown) => {
      // The next start meets it again, and so does Redis.
      this.#log.error(
        { event: 'journal.forget_failed', entries: 1, err: error },
        'an outcome that Redis refuses could not be put apart in the journal',
      );
    });
    if (!this.#isSlow) this.#isSlow = !(await isDoneWithin(this.#clock, done, FORGET_MS));
  }

  dropped(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void {
    ledger.release(job);
    this.counts.dropped += 1;
    this.#log.warn(
      { event: 'outcome.dropped', queue: ledger.queue, jobId: job.id, jobName: job.name, verdict },
      "the outcome of a run is not recorded: the job is no longer this run's",
    );
  }
}
