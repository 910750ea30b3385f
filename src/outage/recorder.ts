/**
 * Follows the breaker of one target and tells its outages: keeps the record, writes the lines, and
 * remembers the last ones. The only part of this room with a timer.
 */
import { randomUUID } from 'node:crypto';
import type { Clock, Instant } from '../time.ts';
import { CauseTeller } from './cause-teller.ts';
import { nextSummaryMs } from './lines.ts';
import {
  type Evidence,
  lengthMs,
  longestCondition,
  nameBeginning,
  noteCondition,
  noteEvidence,
  type OutageCounts,
  type OutageRecord,
  openRecord,
} from './record.ts';
import { type OutageLog, Speaker } from './speaker.ts';

/** What a line says of a condition. */
export interface ConditionText {
  cause: string;
  meaning: string;
  remedy: string;
  /** Where it is documented. */
  docs: string;
  /** It only says how something ended, and another word will say why. */
  isProvisional?: true;
}

export interface RecorderOptions {
  clock: Clock;
  log: OutageLog;
  describe(condition: string): ConditionText;
  /** Hears of everything that is counted, also outside of outages. */
  onCount?(what: keyof OutageCounts, by: number): void;
  /** Ended outages that are remembered in memory. */
  keep?: number;
  /** Hears of a record whenever there is more to tell of it: whoever keeps it on disk. */
  changed?(record: OutageRecord): void;
  /** Hears of a record when its account is complete: at the line at its end. */
  told?(record: OutageRecord): void;
}

/**
 * The line at the end waits for the first job, to tell when it began, and for the fleet's id, but no
 * longer than this, ms.
 */
export const FIRST_JOB_WAIT_MS = 2000;
/** Enough for a page's timeline of a day with an outage each half hour. */
const KEEP = 50;

export class OutageRecorder {
  readonly #options: RecorderOptions;
  readonly #speaker: Speaker;
  readonly #cause: CauseTeller;
  #current: OutageRecord | undefined;
  #openedAt: Instant = 0;
  /** What was last seen of the present cause. */
  #evidence: Evidence | undefined;
  /** The last that recovery found out in the outage that goes on or whose end is yet to be told. */
  #finding: string | undefined;
  /** When Redis first answered after the last outage. */
  #answeredAt: Instant = 0;
  /** The outage whose line at the end has yet to be written. */
  #untold: OutageRecord | undefined;
  /** The outage whose fleet id is being agreed on. */
  #disagreed: OutageRecord | undefined;
  #cancelUntold: (() => void) | undefined;
  #cancelSummary: (() => void) | undefined;
  readonly #ended: OutageRecord[] = [];
  readonly #listeners = new Set<(record: OutageRecord) => void>();

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#speaker = new Speaker(options.clock, options.log);
    this.#cause = new CauseTeller({
      clock: options.clock,
      isProvisional: (condition) => this.#isProvisional(condition),
      tell: (condition, isFirst) => this.#tellCause(condition, isFirst),
    });
  }

  get current(): OutageRecord | undefined {
    return this.#current;
  }

  /** What was last seen of the present outage's cause; undefined when there is none. */
  get evidence(): Evidence | undefined {
    return this.#current && this.#evidence;
  }

  /** When the current outage began, monotonic ms. */
  get openedAt(): Instant {
    return this.#openedAt;
  }

  /** Ended outages, newest last. */
  get ended(): readonly OutageRecord[] {
    return this.#ended;
  }

  /** Hears of each outage at its start, when the line does that opens it, and at its end. */
  on(listener: (record: OutageRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(record: OutageRecord): void {
    this.#options.changed?.(record);
    for (const listener of this.#listeners) listener(record);
  }

  /**
   * The breaker opened; `detectMs` after Redis' last answer, where only silence told it. `evidence`: the
   * text of the error that said so.
   */
  opened(condition: string, held: number, detectMs = 0, evidence?: string): OutageRecord {
    const { clock } = this.#options;
    this.#tellEnd();
    const record = openRecord(randomUUID(), condition, clock.wall(), held, Math.round(detectMs));
    this.#current = record;
    this.#finding = undefined;
    this.#openedAt = clock.now();
    this.#summariseAt(nextSummaryMs(0));
    this.#evidence =
      evidence === undefined ? undefined : noteEvidence(record, evidence, record.startedAt);
    this.#options.changed?.(record);
    this.#cause.opened(condition);
    return record;
  }

  /** Another reason, or the same again, with the text of the error that said so. */
  saw(condition: string, evidence: string): void {
    const record = this.#current;
    if (!record) return;
    const at = this.#options.clock.wall();
    const noted = noteEvidence(record, evidence, at);
    if (this.#isProvisional(condition)) return;
    this.#evidence = noted;
    const isNamed = this.#isProvisional(record.conditions[0]!.name);
    if (isNamed) nameBeginning(record, condition);
    if (noteCondition(record, condition, at) || isNamed) this.#options.changed?.(record);
    this.#cause.saw(condition);
  }

  #isProvisional(condition: string): boolean {
    return this.#options.describe(condition).isProvisional === true;
  }

  /** The line at the start, or that the cause is another. */
  #tellCause(condition: string, isFirst: boolean): void {
    const { clock, describe } = this.#options;
    const record = this.#current;
    if (!record) return;
    const { id: outageId, detectMs } = record;
    const { cause, meaning, remedy, docs } = describe(condition);
    const evidence = this.#evidence === undefined ? [] : [this.#evidence];
    const known = { outageId, condition, cause, remedy, docs, evidence };
    if (isFirst) {
      this.#speaker.say({
        level: 'error',
        fields: { event: 'outage.opened', ...known, held: record.counts.held, detectMs },
        message: `Redis is away: ${meaning}. ${remedy}`,
      });
      this.#tell(record);
      return;
    }
    const durationMs = Math.round(clock.now() - this.#openedAt);
    this.#speaker.say({
      level: 'error',
      fields: { event: 'outage.cause', ...known, durationMs },
      message: `Redis is away for another reason now: ${meaning}. ${remedy}`,
    });
  }

  /** What recovery found out, beside why Redis was away: said with its remedy in the line at the end. */
  found(condition: string, evidence: string): void {
    this.saw(condition, evidence);
    if (this.#current) this.#finding = condition;
  }

  count(what: keyof OutageCounts, by = 1): void {
    this.#options.onCount?.(what, by);
    const record = this.#current ?? this.#ended.at(-1);
    if (record) record.counts[what] += by;
  }

  /**
   * The breaker closed: recovery is done, work goes on. `answeredAt`: Redis' first answer. `agreement`:
   * the fleet's id, undefined when there is none; it must not reject.
   */
  closed(
    identity: string,
    counts: Partial<OutageCounts>,
    answeredAt: Instant = this.#options.clock.now(),
    agreement?: Promise<string | undefined>,
  ): void {
    const { clock } = this.#options;
    const record = this.#current;
    if (!record) return;
    this.#cancelSummary?.();
    this.#cause.flush();
    this.#cause.end();
    this.#current = undefined;
    this.#answeredAt = answeredAt;
    record.endedAt = clock.wall();
    record.identity = identity;
    for (const [name, count] of Object.entries(counts)) {
      record.counts[name as keyof OutageCounts] += count;
      this.#options.onCount?.(name as keyof OutageCounts, count);
    }
    this.#ended.push(record);
    if (this.#ended.length > (this.#options.keep ?? KEEP)) this.#ended.shift();
    this.#tell(record);
    this.#untold = record;
    if (agreement) {
      this.#disagreed = record;
      void agreement.then((fleetId) => this.#agreed(record, fleetId));
    }
    this.#cancelUntold = clock.after(FIRST_JOB_WAIT_MS, () => this.#tellEnd());
  }

  /** A job begins here; the first after an outage ends its account. */
  firstJob(): void {
    const record = this.#ended.at(-1);
    if (!record || record.firstJobMs !== undefined || this.#current) return;
    record.firstJobMs = Math.round(this.#options.clock.now() - this.#answeredAt);
    if (this.#untold !== record) this.#options.changed?.(record);
    else if (this.#disagreed !== record) this.#tellEnd();
  }

  #agreed(record: OutageRecord, fleetId: string | undefined): void {
    record.fleetId = fleetId;
    if (this.#disagreed === record) this.#disagreed = undefined;
    if (this.#untold !== record) this.#options.changed?.(record);
    else if (record.firstJobMs !== undefined) this.#tellEnd();
  }

  /** The service stops: an outage that is open is told to be, and is no longer followed. */
  stop(): void {
    this.#tellEnd();
    if (this.#current) this.#cause.flush();
    this.#cause.end();
    this.#cancelSummary?.();
    this.#speaker.stop();
    const record = this.#current;
    if (!record) return;
    record.stoppedAt = this.#options.clock.wall();
    this.#options.changed?.(record);
  }

  /** The one line at the end of an outage, with all that is known by then. */
  #tellEnd(): void {
    const record = this.#untold;
    if (!record) return;
    this.#untold = undefined;
    this.#disagreed = undefined;
    this.#cancelUntold?.();
    this.#options.changed?.(record);
    this.#options.told?.(record);
    const { firstJobMs, counts } = record;
    const lastedMs = lengthMs(record, this.#options.clock.wall());
    const first = firstJobMs === undefined ? '' : `, first job after ${firstJobMs} ms`;
    const finding = this.#finding === undefined ? '' : `. ${this.#advice(this.#finding)}`;
    this.#speaker.say({
      level: 'info',
      fields: {
        event: 'outage.closed',
        outageId: record.id,
        ...(record.fleetId === undefined ? {} : { fleetOutageId: record.fleetId }),
        condition: mainConditionOf(record, this.#options.clock.wall()),
        conditions: record.conditions.map(({ name }) => name),
        identity: record.identity,
        durationMs: lastedMs,
        detectMs: record.detectMs,
        ...(firstJobMs === undefined ? {} : { firstJobMs }),
        ...counts,
        evidence: record.evidence.slice(0, 3),
      },
      message: `Redis is back after ${seconds(lastedMs)}: ${counts.locksRetaken} locks taken back, ${counts.replayed} outcomes written, ${counts.pulledBack} jobs saved from a second run${first}${finding}`,
    });
  }

  #advice(condition: string): string {
    const { meaning, remedy } = this.#options.describe(condition);
    return `${meaning.charAt(0).toUpperCase()}${meaning.slice(1)}. ${remedy}`;
  }

  /** `dueMs` after the outage began; the next is counted from there, for timers fire a little early. */
  #summariseAt(dueMs: number): void {
    const { clock } = this.#options;
    this.#cancelSummary?.();
    this.#cancelSummary = clock.after(this.#openedAt + dueMs - clock.now(), () => {
      const record = this.#current;
      if (!record) return;
      const awayMs = Math.round(clock.now() - this.#openedAt);
      this.#options.changed?.(record);
      const { condition } = this.#cause;
      const { cause, remedy, docs } = this.#options.describe(condition);
      this.#speaker.say({
        level: 'warn',
        fields: {
          event: 'outage.summary',
          outageId: record.id,
          condition,
          cause,
          remedy,
          docs,
          durationMs: awayMs,
          ...record.counts,
          evidence: record.evidence.slice(0, 3),
        },
        // What was known when it began may have been how the end of a connection looks.
        message: `Redis is still away after ${seconds(awayMs)}; work is kept. ${this.#advice(condition)}`,
      });
      this.#summariseAt(nextSummaryMs(dueMs));
    });
  }
}

/** Under which word a whole outage goes, so far. `now`: ms since the epoch. */
export function mainConditionOf(record: OutageRecord, now: number): string {
  return longestCondition([{ conditions: record.conditions, until: record.endedAt ?? now }]);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
