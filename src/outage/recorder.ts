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

/** Enough for a page's timeline of a day with an outage each half hour. */
const KEEP = 50;

export class OutageRecorder {
  readonly #options: RecorderOptions;
  readonly #allowance = new LineAllowance();
  #current: OutageRecord | undefined;
  #openedAt: Instant = 0;
  #closedAt: Instant = 0;
  #cancelSummary: (() => void) | undefined;
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
    const { clock, describe, log } = this.#options;
    const record = openRecord(randomUUID(), condition, clock.wall(), held);
    this.#current = record;
    this.#openedAt = clock.now();
    this.#summariseLater();
    if (this.#allowance.take(clock.now())) {
      const { cause, meaning, remedy } = describe(condition);
      log.error(
        { event: 'outage.opened', outageId: record.id, condition, cause, held },
        `Redis is away: ${meaning}. ${remedy}`,
      );
    }
    this.#tell(record);
    return record;
  }

  /** Another reason, or the same again, with the text of the error that said so. */
  saw(condition: string, evidence: string): void {
    if (!this.#current) return;
    noteCondition(this.#current, condition, this.#options.clock.wall());
    noteEvidence(this.#current, evidence);
    this.#current.counts.probes += 1;
  }

  count(what: keyof OutageCounts, by = 1): void {
    const record = this.#current ?? this.#ended.at(-1);
    if (record) record.counts[what] += by;
  }

  /** The breaker closed: recovery is done, work goes on. */
  closed(identity: string, counts: Partial<OutageCounts>): void {
    const { clock, log } = this.#options;
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
    if (!this.#allowance.take(clock.now())) return;
    const unsaid = this.#allowance.unsaid();
    log.info(
      {
        event: 'outage.closed',
        outageId: record.id,
        condition: record.conditions[0]?.name,
        conditions: record.conditions.map(({ name }) => name),
        identity,
        durationMs: lengthMs(record, clock.wall()),
        ...record.counts,
        evidence: record.evidence.slice(0, 3),
        ...(unsaid > 0 ? { linesLeftOut: unsaid } : {}),
      },
      `Redis is back after ${seconds(lengthMs(record, clock.wall()))}: ${record.counts.locksRetaken} locks taken back, ${record.counts.replayed} outcomes written, ${record.counts.pulledBack} jobs saved from a second run`,
    );
  }

  /** The first job that began after the last outage. Returns the ms since the breaker closed. */
  firstJob(): void {
    const record = this.#ended.at(-1);
    if (!record || record.firstJobMs !== undefined || this.#current) return;
    record.firstJobMs = Math.round(this.#options.clock.now() - this.#closedAt);
  }

  stop(): void {
    this.#cancelSummary?.();
  }

  #summariseLater(): void {
    const { clock, log } = this.#options;
    this.#cancelSummary?.();
    const since = clock.now() - this.#openedAt;
    this.#cancelSummary = clock.after(nextSummaryMs(since) - since, () => {
      const record = this.#current;
      if (!record) return;
      if (this.#allowance.take(clock.now())) {
        log.warn(
          {
            event: 'outage.summary',
            outageId: record.id,
            condition: record.conditions.at(-1)?.name,
            durationMs: Math.round(clock.now() - this.#openedAt),
            ...record.counts,
            evidence: record.evidence.slice(0, 3),
          },
          `Redis is still away after ${seconds(clock.now() - this.#openedAt)}; work is kept`,
        );
      }
      this.#summariseLater();
    });
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
