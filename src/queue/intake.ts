/**
 * Where an accepted job goes: straight to Redis in calm weather, into the journal while Redis is away,
 * slow, or behind. Whoever enqueues is answered once the job is kept, and within its time in any case.
 *
 * The order of a queue is kept: while anything that was journaled is not in Redis yet, what is
 * accepted later goes through the journal too.
 *
 * What it must never do: acknowledge a job that neither Redis nor the journal has.
 */
import { OutcomeUnknownError } from '../errors.ts';
import type { JobEntry, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock, Instant } from '../time.ts';
import { type AddRecord, AddSeries, type AddSeriesDeps, type AddWork } from './add-series.ts';
import type { Generation } from './generation.ts';
import { HeldArrivals } from './held-arrivals.ts';
import { keepAlias } from './job-alias.ts';
import { type AcceptedJob, jobEntry } from './job-store.ts';
import type { QueueLedger } from './ledger.ts';
import type { Replayer } from './replayer.ts';
import { Receipt, Takeover, Waiting } from './takeover.ts';
import { TimelyAppend, within } from './timely-append.ts';

export interface IntakeDeps extends Omit<AddSeriesDeps, 'windowMs'> {
  clock: Clock;
  processId: string;
  rollbackWindowMs: number;
  /** Every call is answered within this time, ms. */
  enqueueTimeoutMs: number;
  /** The last known round trip to Redis, ms. */
  roundTripMs(): number;
  generation(): Generation | undefined;
  /** The first try to connect since the start is under way. */
  isConnecting(): boolean;
  /** A job is in the journal that was never written to a socket. */
  onUnsent(ledger: QueueLedger, position: Position): void;
  /** The journal has a job that Redis does not have. */
  onJournaled(): void;
}

/** A job on its way in. */
export interface Arrival {
  ledger: QueueLedger;
  job: AcceptedJob;
  /** What goes over the wire; not asked for when the job goes to the journal. */
  work(): AddWork;
  /** Through the journal even in calm weather. */
  isStrict: boolean;
  /** The error for a negative reply of BullMQ's, which refuses the job. */
  refusal(code: number): Error;
}

/** An answer that takes longer is late, ms: the journal takes the job over. */
const LATE_MS = 50;
/** An arrival is held for this long at most while its way is about to change, ms. */
const HOLD_MS = 50;
/** As long as Redis is asked for the first time, at the start or about a queue, ms. */
const FIRST_HOLD_MS = 500;
/** What the rollback window need not keep any more is looked for no more often than this, ms. */
const SWEEP_MIN_MS = 1000;
/** Where a job goes; `hold` for a moment in which that is about to change. */
export type Way = 'direct' | 'keep' | 'hold';

export class Intake {
  readonly #deps: IntakeDeps;
  readonly #journal: Journal;
  readonly #timely: TimelyAppend;
  readonly #replayer: Replayer;
  readonly #series = new Map<QueueLedger, AddSeries>();
  /** No series that was forgotten has given a number above this: one of the same queue begins behind it. */
  #numbersFrom = 0;
  #cancelLook: (() => void) | undefined;
  readonly #held: HeldArrivals;
  #cancelSweep: (() => void) | undefined;
  #isStopped = false;

  constructor(deps: IntakeDeps, journal: Journal, replayer: Replayer) {
    this.#deps = deps;
    this.#journal = journal;
    this.#timely = new TimelyAppend(deps, journal);
    this.#replayer = replayer;
    this.#held = new HeldArrivals({
      clock: deps.clock,
      holdMs: () => this.#holdMs(),
      way: (arrival) => this.#way(arrival),
      go: (arrivals, by, way) =>
        way === 'direct' ? this.#directAll(arrivals, by) : this.#keep(arrivals, by),
      onOverdue: () => replayer.giveUpEnd(),
    });
  }

  /**
   * Resolves once the job is kept.
   * @throws JournalFullError, JournalError, OutcomeUnknownError, or BullMQ's refusal
   */
  accept(arrival: Arrival): Promise<Receipt> {
    const by = this.#deps.clock.now() + this.#deps.enqueueTimeoutMs;
    const way = this.#held.isEmpty ? this.#way(arrival) : 'hold';
    if (way === 'direct') return this.#direct(arrival, by);
    if (way === 'keep') return this.#keepOne(arrival, by);
    return this.#held.hold([arrival], by).then(([receipt]) => receipt!);
  }

  /**
   * As `accept`, jobs of one queue in order. What goes to the journal is kept whole or not at all.
   * @throws OutcomeUnknownError that names all, when that of one is not known
   */
  async acceptAll(arrivals: readonly Arrival[]): Promise<Receipt[]> {
    if (arrivals.length === 0) return [];
    const by = this.#deps.clock.now() + this.#deps.enqueueTimeoutMs;
    const way = this.#held.isEmpty ? this.#way(arrivals[0]!) : 'hold';
    if (way === 'direct') return await this.#directAll(arrivals, by);
    if (way === 'keep') return await this.#keep(arrivals, by);
    return await this.#held.hold(arrivals, by);
  }

  /** Nothing is held, or waits for Redis. */
  get isIdle(): boolean {
    return this.#held.isEmpty && [...this.#series.values()].every((each) => !each.hasUnanswered);
  }

  #way({ ledger, isStrict }: Arrival): Way {
    if (isStrict) return 'keep';
    const generation = this.#deps.generation();
    if (!generation) return this.#deps.isConnecting() ? 'hold' : 'keep';
    if (this.#deps.roundTripMs() > LATE_MS) return 'keep';
    if (!this.#replayer.isClear) return this.#replayer.isAtEnd ? 'hold' : 'keep';
    const series = this.#seriesOf(ledger);
    if (series.isOpenIn(generation)) return this.#isLate(series) ? 'keep' : 'direct';
    if (series.hasUnanswered || series.isStuckIn(generation)) return 'keep';
    void series.settle(generation).then(() => this.changed());
    return 'hold';
  }

  #holdMs(): number {
    const holdMs = this.#replayer.isClear ? FIRST_HOLD_MS : HOLD_MS;
    return Math.min(holdMs, this.#deps.enqueueTimeoutMs / 2);
  }

  /** A series opened, or the replay is at its end or is not any more. */
  changed(): void {
    this.#held.letGo(false);
  }

  /** The breaker closed: what is in doubt is decided, before anything new is sent. */
  async recovered(generation: Generation): Promise<void> {
    const used = [...this.#series.values()].filter(({ isUsed }) => isUsed);
    await Promise.all(used.map((series) => series.settle(generation)));
    this.changed();
  }

  /** As `recovered`, for one queue. */
  async takenBack(ledger: QueueLedger, generation: Generation): Promise<void> {
    await this.#series.get(ledger)?.settle(generation);
    this.changed();
  }

  /** Ends waiting; what is unanswered is taken over by the journal. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    this.#cancelSweep?.();
    this.#held.letGo(true);
    for (const series of this.#series.values()) series.stop();
  }

  #seriesOf(ledger: QueueLedger): AddSeries {
    let series = this.#series.get(ledger);
    if (!series) {
      const { processId, rollbackWindowMs } = this.#deps;
      const deps = { ...this.#deps, windowMs: rollbackWindowMs };
      series = new AddSeries(ledger, processId, deps, this.#numbersFrom);
      this.#series.set(ledger, series);
    }
    return series;
  }

  /** Nobody uses the queue: true if nothing is in doubt or remembered of it, and it is forgotten. */
  forget(ledger: QueueLedger): boolean {
    const series = this.#series.get(ledger);
    if (!series) return true;
    if (!series.isQuiet) return false;
    series.stop();
    this.#numbersFrom = Math.max(this.#numbersFrom, series.lastGiven);
    this.#series.delete(ledger);
    return true;
  }

  #isLate(series: AddSeries): boolean {
    const since = series.unansweredSince;
    return since !== undefined && this.#deps.clock.now() - since > LATE_MS;
  }

  // Straight to Redis --------------------------------------------------------------------------------

  #direct(arrival: Arrival, by: Instant): Promise<Receipt> {
    const generation = this.#deps.generation()!;
    const series = this.#seriesOf(arrival.ledger);
    this.#look();
    this.#sweepLater();
    return new Promise((resolve, reject) => {
      const { job } = arrival;
      const refusal = (code: number): Error => arrival.refusal(code);
      const waiting = new Waiting(job.jobId, refusal, resolve, reject, (record) => {
        const takeover = new Takeover(this.#journal, this.#replayer, (id) => {
          void keepAlias(this.#deps.generation(), arrival.ledger, job.jobId, id);
        });
        this.#keptFrom(takeover, arrival, by, series, record).then(resolve, reject);
        return takeover;
      });
      series.add(generation, arrival.work(), waiting);
    });
  }

  async #directAll(arrivals: readonly Arrival[], by: Instant): Promise<Receipt[]> {
    const ends = await Promise.allSettled(arrivals.map((arrival) => this.#direct(arrival, by)));
    const errors = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
    const unknown = errors.find((error) => error instanceof OutcomeUnknownError);
    if (unknown) throw unknown.of(arrivals.map(({ job }) => job.jobId));
    if (errors.length > 0) throw errors[0];
    return ends.map((end) => (end as PromiseFulfilledResult<Receipt>).value);
  }

  /** The journal takes over what Redis has not answered, with the number under which it was sent. */
  async #keptFrom(
    takeover: Takeover,
    arrival: Arrival,
    by: Instant,
    series: AddSeries,
    record: AddRecord,
  ): Promise<Receipt> {
    const place = { key: series.key, number: record.number };
    const { ledger, job } = arrival;
    try {
      const entry = jobEntry(ledger, job, this.#deps.clock.wall(), place, 'sent');
      takeover.position = await this.#timely.append(entry, by);
    } catch (error) {
      return await this.#answered(takeover, job.jobId, by, series, record, error);
    }
    takeover.settleIfDecided();
    this.#deps.onJournaled();
    return new Receipt(job.jobId, 'journal');
  }

  /** The journal could not take it over: Redis may answer yet, and it alone knows whether the job is kept. */
  async #answered(
    takeover: Takeover,
    jobId: string,
    by: Instant,
    series: AddSeries,
    record: AddRecord,
    cause: unknown,
  ): Promise<Receipt> {
    const fate = await within(this.#deps.clock, takeover.fate, by - this.#deps.clock.now());
    takeover.abandon();
    if (fate === undefined) {
      series.giveUp(record);
      throw new OutcomeUnknownError('Redis, and the journal did not take the job', [jobId], cause);
    }
    if ('error' in fate) throw fate.error;
    return new Receipt(fate.id, 'redis');
  }

  /** One timer for all series, only while something is unanswered. */
  #look(): void {
    this.#cancelLook ??= this.#deps.clock.after(LATE_MS, () => {
      this.#cancelLook = undefined;
      let isWaiting = false;
      for (const series of this.#series.values()) {
        if (this.#isLate(series)) series.doubtUnanswered();
        isWaiting ||= series.hasUnanswered;
      }
      if (isWaiting) this.#look();
    });
  }

  /** One timer for all series: a queue that fell quiet holds no memory for its last burst. */
  #sweepLater(): void {
    const { clock, rollbackWindowMs } = this.#deps;
    if (this.#isStopped) return;
    this.#cancelSweep ??= clock.after(Math.max(SWEEP_MIN_MS, rollbackWindowMs), () => {
      this.#cancelSweep = undefined;
      const generation = this.#deps.generation();
      let isRemembering = false;
      for (const series of this.#series.values()) {
        // While Redis is away the window stands still, and what is in doubt is asked for first.
        if (generation && series.isOpenIn(generation)) series.forgetOld();
        // What is in doubt is remembered as soon as it is decided.
        isRemembering ||= series.isRemembering || series.hasUnanswered;
      }
      if (isRemembering) this.#sweepLater();
    });
  }

  // Into the journal ---------------------------------------------------------------------------------

  /** As `#keep`. No async function, since every job takes this way while Redis is away. */
  #keepOne(arrival: Arrival, by: Instant): Promise<Receipt> {
    const { ledger } = arrival;
    const { jobId } = arrival.job;
    this.#series.get(ledger)?.doubtUnanswered();
    const arrived = this.#replayer.expect();
    const failed = (error: unknown): never => {
      arrived(false);
      throw error;
    };
    let appended: Promise<Position>;
    try {
      appended = this.#timely.append(this.#entryOf(arrival, this.#deps.clock.wall()), by);
    } catch (error) {
      return failed(error);
    }
    return appended.then((position) => {
      try {
        this.#deps.onUnsent(ledger, position);
      } finally {
        arrived(true);
      }
      this.#deps.onJournaled();
      return new Receipt(jobId, 'journal');
    }, failed);
  }

  async #keep(arrivals: readonly Arrival[], by: Instant): Promise<Receipt[]> {
    const { ledger } = arrivals[0]!;
    // What came before it and has no answer yet stands before it in the journal too.
    this.#series.get(ledger)?.doubtUnanswered();
    const arrived = this.#replayer.expect();
    let positions: Position[] | undefined;
    try {
      const at = this.#deps.clock.wall();
      const entries = arrivals.map((arrival) => this.#entryOf(arrival, at));
      positions = await this.#timely.appendAll(entries, by);
      for (const position of positions) this.#deps.onUnsent(ledger, position);
    } finally {
      arrived(positions !== undefined);
    }
    return arrivals.map(({ job }) => {
      this.#deps.onJournaled();
      return new Receipt(job.jobId, 'journal');
    });
  }

  #entryOf({ ledger, job }: Arrival, at: number): JobEntry {
    return jobEntry(ledger, job, at, this.#replayer.nextPlace(ledger), 'unsent');
  }
}
