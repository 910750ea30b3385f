/**
 * Follows the breaker of one target and tells its outages: keeps the record, writes the lines, and
 * remembers the last ones. The only part of this room with a timer.
 */
import { randomUUID } from 'node:crypto';
import type { Clock, Instant } from '../time.ts';
import { LineAllowance, nextSummaryMs } from './lines.ts';
import {
  lengthMs,
  noteCondition,
  noteEvidence,
  type OutageCounts,
  type OutageRecord,
  openRecord,
} from './record.ts';

/** What a line says of a condition. */
export interface ConditionText {
  cause: string;
  meaning: string;
  remedy: string;
}

export interface RecorderOptions {
  clock: Clock;
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
  describe(condition: string): ConditionText;
  /** Ended outages that are remembered in memory. */
  keep?: number;
}

interface Line {
  level: 'info' | 'warn' | 'error';
  fields: object;
  message: string;
}

/** Enough for a page's timeline of a day with an outage each half hour. */
const KEEP = 50;

export class OutageRecorder {
  readonly #options: RecorderOptions;
  readonly #allowance = new LineAllowance();
  #current: OutageRecord | undefined;
  #openedAt: Instant = 0;
  #closedAt: Instant = 0;
  #cancelSummary: (() => void) | undefined;
  /** The last line that was one too many: the log must not end with what is no longer so. */
  #late: Line | undefined;
  #cancelLate: (() => void) | undefined;
  readonly #ended: OutageRecord[] = [];
  readonly #listeners = new Set<(record: OutageRecord) => void>();

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  get current(): OutageRecord | undefined {
    return this.#current;
  }

  /** Ended outages, newest last. */
  get ended(): readonly OutageRecord[] {
    return this.#ended;
  }

  /** Hears of each outage at its start and at its end. */
  on(listener: (record: OutageRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(record: OutageRecord): void {
    for (const listener of this.#listeners) listener(record);
  }

  /** The breaker opened. */
  opened(condition: string, held: number): OutageRecord {
    const { clock, describe } = this.#options;
    const record = openRecord(randomUUID(), condition, clock.wall(), held);
    this.#current = record;
    this.#openedAt = clock.now();
    this.#summariseAt(nextSummaryMs(0));
    const { cause, meaning, remedy } = describe(condition);
    this.#say({
      level: 'error',
      fields: { event: 'outage.opened', outageId: record.id, condition, cause, held },
      message: `Redis is away: ${meaning}. ${remedy}`,
    });
    this.#tell(record);
    return record;
  }

  /** Another reason, or the same again, with the text of the error that said so. */
  saw(condition: string, evidence: string): void {
    if (!this.#current) return;
    noteCondition(this.#current, condition, this.#options.clock.wall());
    noteEvidence(this.#current, evidence);
  }

  count(what: keyof OutageCounts, by = 1): void {
    const record = this.#current ?? this.#ended.at(-1);
    if (record) record.counts[what] += by;
  }

  /** The breaker closed: recovery is done, work goes on. */
  closed(identity: string, counts: Partial<OutageCounts>): void {
    const { clock } = this.#options;
    const record = this.#current;
    if (!record) return;
    this.#cancelSummary?.();
    this.#current = undefined;
    this.#closedAt = clock.now();
    record.endedAt = clock.wall();
    record.identity = identity;
    for (const [name, count] of Object.entries(counts)) {
      record.counts[name as keyof OutageCounts] += count;
    }
    this.#ended.push(record);
    if (this.#ended.length > (this.#options.keep ?? KEEP)) this.#ended.shift();
    this.#tell(record);
    const { locksRetaken, replayed, pulledBack } = record.counts;
    this.#say({
      level: 'info',
      fields: {
        event: 'outage.closed',
        outageId: record.id,
        condition: record.conditions[0]?.name,
        conditions: record.conditions.map(({ name }) => name),
        identity,
        durationMs: lengthMs(record, clock.wall()),
        ...record.counts,
        evidence: record.evidence.slice(0, 3),
      },
      message: `Redis is back after ${seconds(lengthMs(record, clock.wall()))}: ${locksRetaken} locks taken back, ${replayed} outcomes written, ${pulledBack} jobs saved from a second run`,
    });
  }

  /** The first job that began after the last outage. Returns the ms since the breaker closed. */
  firstJob(): void {
    const record = this.#ended.at(-1);
    if (!record || record.firstJobMs !== undefined || this.#current) return;
    record.firstJobMs = Math.round(this.#options.clock.now() - this.#closedAt);
  }

  stop(): void {
    this.#cancelSummary?.();
    this.#cancelLate?.();
  }

  /** `dueMs` after the outage began; the next is counted from there, for timers fire a little early. */
  #summariseAt(dueMs: number): void {
    const { clock } = this.#options;
    this.#cancelSummary?.();
    this.#cancelSummary = clock.after(this.#openedAt + dueMs - clock.now(), () => {
      const record = this.#current;
      if (!record) return;
      const awayMs = Math.round(clock.now() - this.#openedAt);
      this.#say({
        level: 'warn',
        fields: {
          event: 'outage.summary',
          outageId: record.id,
          condition: record.conditions.at(-1)?.name,
          durationMs: awayMs,
          ...record.counts,
          evidence: record.evidence.slice(0, 3),
        },
        message: `Redis is still away after ${seconds(awayMs)}; work is kept`,
      });
      this.#summariseAt(nextSummaryMs(dueMs));
    });
  }

  /** Writes a line if the allowance has one left, else later, unless a newer one comes before. */
  #say(line: Line): void {
    const { clock } = this.#options;
    this.#cancelLate?.();
    if (this.#allowance.take(clock.now())) {
      this.#late = undefined;
      this.#write(line, this.#allowance.unsaid());
      return;
    }
    this.#late = line;
    this.#sayLate();
  }

  #sayLate(): void {
    const { clock } = this.#options;
    this.#cancelLate = clock.after(this.#allowance.freeAt() - clock.now(), () => {
      const late = this.#late;
      if (!late) return;
      // Timers fire a little early.
      if (clock.now() < this.#allowance.freeAt()) return this.#sayLate();
      this.#allowance.take(clock.now());
      this.#late = undefined;
      this.#write(late, this.#allowance.unsaid() - 1);
    });
  }

  #write({ level, fields, message }: Line, leftOut: number): void {
    this.#options.log[level](leftOut > 0 ? { ...fields, linesLeftOut: leftOut } : fields, message);
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
