/**
 * Jobs that ran from the journal to their end and that Redis may not have: only where the journal has the
 * job, and how it ended, is in memory, some 40 bytes each. Both are read when they go to Redis, page by page
 * (`ended-jobs.ts`), or when somebody asks.
 */
import type { JobEntry, Kept, OutcomeEntry, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { AddWork } from './add-series.ts';
import type { Generation } from './generation.ts';
import { BEGUN, runPlace } from './island-job.ts';
import { endedWork } from './island-return.ts';
import { storedJob } from './job-store.ts';
import type { Outcome, QueueLedger } from './ledger.ts';
import { fromEntry } from './outcome-store.ts';

export interface IslandEndsDeps {
  journal: Pick<Journal, 'read'>;
  ledger(prefix: string, queue: string): QueueLedger;
}

/** A job with how it ended, ready to go. */
export interface Ended {
  work(): AddWork;
  /** Where the journal has how it ended. */
  outcome: Position;
}

/** Entries that are read at once. */
const PAGE_ENTRIES = 256;

export class IslandEnds {
  readonly #deps: IslandEndsDeps;
  /** By the job's place, that of its outcome. */
  readonly #outcomes = new Map<Position, Position>();
  /** Of an earlier life, or of a dead replica, which may have been on their way to Redis. */
  readonly #found = new Set<Position>();

  constructor(deps: IslandEndsDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#outcomes.size;
  }

  has(job: Position): boolean {
    return this.#outcomes.has(job);
  }

  /** The jobs' places, in their order. */
  placesAfter(after: Position = Number.MIN_SAFE_INTEGER): Position[] {
    const places: Position[] = [];
    for (const job of this.#outcomes.keys()) if (job > after) places.push(job);
    return places.sort((a, b) => a - b);
  }

  add(job: Position, outcome: Position, isFound = false): void {
    this.#outcomes.set(job, outcome);
    if (isFound) this.#found.add(job);
  }

  /** The journal does not have these any more. */
  forget(jobs: Iterable<Position>): void {
    for (const job of jobs) {
      this.#outcomes.delete(job);
      this.#found.delete(job);
    }
  }

  /** How the job ended; undefined for one that did not end here, or of which the journal lost it. */
  async outcomeOf(job: Position): Promise<Outcome | undefined> {
    const end = (await this.#read([job])).get(job);
    return end && fromEntry(end);
  }

  /** Those of a page that have ended, ready to go to Redis. */
  async worksOf(page: readonly Kept<JobEntry>[]): Promise<Map<Position, Ended>> {
    const works = new Map<Position, Ended>();
    const ended = page.filter(({ position }) => this.has(position));
    if (ended.length === 0) return works;
    const read = await this.#read(ended.map(({ position }) => position));
    for (const entry of ended) {
      const end = read.get(entry.position);
      // Damaged on disk: nothing is known but that it began, as of a run that was cut short.
      if (!end) this.forget([entry.position]);
      else {
        const ledger = this.#deps.ledger(entry.prefix, entry.queue);
        const work = () => endedWork(ledger, storedJob(entry), fromEntry(end));
        works.set(entry.position, { work, outcome: end.position });
      }
    }
    return works;
  }

  /**
   * Those found whose jobs are in Redis without their ends, since the process died between the two, are owed
   * like any outcome from now on: recovery takes such jobs back before anybody may find them stalled.
   * @throws what Redis says, JournalError
   */
  async oweBegun(generation: Generation): Promise<void> {
    const found = [...this.#found];
    for (let from = 0; from < found.length; from += PAGE_ENTRIES) {
      const page = found.slice(from, from + PAGE_ENTRIES);
      const others = await this.#notBegun(generation, page);
      await this.owe(page.filter((job) => !others.has(job)));
      for (const job of page) this.#found.delete(job);
    }
  }

  /** How these ended is owed like any outcome from now on. */
  async owe(jobs: readonly Position[]): Promise<void> {
    for (const [job, end] of await this.#read(jobs)) {
      const { unsettled } = this.#deps.ledger(end.prefix, end.queue);
      if (!unsettled.has(end.jobId)) unsettled.set(end.jobId, fromEntry(end));
      this.forget([job]);
    }
  }

  /** Those that Redis does not have, or has with their ends. */
  async #notBegun(generation: Generation, jobs: readonly Position[]): Promise<Set<Position>> {
    const byQueue = new Map<QueueLedger, { job: Position; key: string }[]>();
    for await (const entry of this.#deps.journal.read(jobs)) {
      if (entry.type !== 'job') continue;
      const ledger = this.#deps.ledger(entry.prefix, entry.queue);
      const asked = byQueue.get(ledger) ?? [];
      asked.push({ job: entry.position, key: runPlace(storedJob(entry).place).key });
      byQueue.set(ledger, asked);
    }
    const others = new Set<Position>();
    for (const asked of byQueue.values()) {
      const values = await Promise.all(asked.map(({ key }) => generation.client.get(key)));
      for (const [i, { job }] of asked.entries()) if (Number(values[i]) !== BEGUN) others.add(job);
    }
    return others;
  }

  /** By the jobs' places. */
  async #read(jobs: readonly Position[]): Promise<Map<Position, Kept<OutcomeEntry>>> {
    const jobOf = new Map<Position, Position>();
    for (const job of jobs) {
      const outcome = this.#outcomes.get(job);
      if (outcome !== undefined) jobOf.set(outcome, job);
    }
    const found = new Map<Position, Kept<OutcomeEntry>>();
    if (jobOf.size === 0) return found;
    for await (const entry of this.#deps.journal.read([...jobOf.keys()])) {
      if (entry.type === 'outcome') found.set(jobOf.get(entry.position)!, entry);
    }
    return found;
  }
}
