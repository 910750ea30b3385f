/**
 * The journal without a disk, for those who chose JOURNAL=memory: the same promises within the
 * life of the process and none beyond it. Also what the journal on disk is compared with in tests.
 */
import { randomUUID } from 'node:crypto';
import { JournalError } from '../errors.ts';
import type { Clock } from '../time.ts';
import type { Adopted } from './adopt.ts';
import { type Bounds, overBounds } from './bounds.ts';
import type { Journal, JournalStats } from './contract.ts';
import type { FoundJob, JobEntry, JobMark, OutcomeEntry } from './entry.ts';
import {
  type Entry,
  type EntryType,
  type Head,
  type Kept,
  type Position,
  pack,
  type RefusedEntry,
} from './entry.ts';

const PATH = '(memory)';

export class MemoryJournal implements Journal {
  readonly id: string = randomUUID();
  readonly durable = false;
  readonly path = undefined;
  readonly warnings = ['The journal is in memory: a crash loses what Redis does not have yet.'];
  readonly #bounds: Bounds;
  readonly #clock: Clock;
  /** In order of their positions. */
  readonly #entries = new Map<Position, Kept>();
  readonly #refused = new Map<Position, RefusedEntry>();
  readonly #bytes = new Map<Position, number>();
  #bytesAll = 0;
  #last = 0;
  #lingering = 0;
  #isClosed = false;

  constructor(options: Bounds & { clock: Clock }) {
    this.#bounds = { bytesMax: options.bytesMax, entriesMax: options.entriesMax };
    this.#clock = options.clock;
  }

  async append(entry: Entry): Promise<Position> {
    const [position] = await this.appendAll([entry]);
    return position!;
  }

  async appendAll(entries: readonly Entry[]): Promise<Position[]> {
    this.#assertOpen();
    const sizes = entries.map((entry) => pack(entry).bytes);
    const used = { bytes: this.#bytesAll, entries: this.#bytes.size };
    const added = { bytes: sizes.reduce((sum, bytes) => sum + bytes, 0), entries: sizes.length };
    const error = overBounds(PATH, used, added, this.#bounds);
    if (error !== undefined) throw error;
    this.#bytesAll += added.bytes;
    return entries.map((entry, index) => {
      const position = ++this.#last;
      this.#entries.set(position, { ...entry, position });
      this.#bytes.set(position, sizes[index]!);
      return position;
    });
  }

  outcomes(queue?: string): AsyncIterable<Kept<OutcomeEntry>> {
    return this.#all('outcome', queue) as AsyncIterable<Kept<OutcomeEntry>>;
  }

  jobs(queue?: string, after?: Position): AsyncIterable<Kept<JobEntry>> {
    return this.#all('job', queue, after) as AsyncIterable<Kept<JobEntry>>;
  }

  async *#all(
    type: EntryType,
    queue: string | undefined,
    after: Position = Number.MIN_SAFE_INTEGER,
  ): AsyncGenerator<Kept> {
    this.#assertOpen();
    for (const entry of this.#entries.values()) {
      if (entry.position <= after || entry.type !== type) continue;
      if (queue === undefined || entry.queue === queue) yield { ...entry };
    }
  }

  async *heads<T extends EntryType>(type: T): AsyncGenerator<Head<Extract<Entry, { type: T }>>> {
    for await (const { args: _args, ...head } of this.#all(type, undefined)) {
      yield head as never;
    }
  }

  async *read(positions: readonly Position[]): AsyncGenerator<Kept> {
    this.#assertOpen();
    for (const position of positions) {
      const entry = this.#entries.get(position);
      if (entry !== undefined) yield { ...entry };
    }
  }

  async find(
    queue: string,
    jobId: string,
    isPassed: (position: Position) => boolean = () => false,
  ): Promise<FoundJob | undefined> {
    this.#assertOpen();
    for (const entry of [...this.#entries.values(), ...this.#refused.values()]) {
      if (entry.type !== 'job' || entry.queue !== queue || entry.jobId !== jobId) continue;
      if (isPassed(entry.position)) continue;
      return { ...entry };
    }
    return undefined;
  }

  async settle(positions: readonly Position[]): Promise<void> {
    this.#assertOpen();
    for (const position of positions) {
      this.#entries.delete(position);
      this.#refused.delete(position);
      this.#bytesAll -= this.#bytes.get(position) ?? 0;
      this.#bytes.delete(position);
    }
  }

  async mark(positions: readonly Position[], mark: JobMark): Promise<void> {
    this.#assertOpen();
    for (const position of positions) {
      const entry = this.#entries.get(position);
      if (entry?.type === 'job') this.#entries.set(position, { ...entry, mark });
    }
  }

  lingers(count: number): void {
    this.#lingering += count;
  }

  async refuse(position: Position, reason: string): Promise<void> {
    this.#assertOpen();
    const entry = this.#entries.get(position);
    if (entry === undefined) return;
    this.#entries.delete(position);
    this.#refused.set(position, { ...entry, reason, refusedAt: this.#clock.wall() });
  }

  async refused(limit = Number.POSITIVE_INFINITY): Promise<RefusedEntry[]> {
    this.#assertOpen();
    const inOrder = [...this.#refused.values()].sort((a, b) => a.position - b.position);
    return inOrder.slice(0, limit);
  }

  async adoptOrphans(): Promise<Adopted[]> {
    return [];
  }

  stats(): JournalStats {
    const entries = [...this.#entries.values()];
    const outcomes = entries.filter((entry) => entry.type === 'outcome').length;
    return {
      entries: entries.length,
      outcomes,
      jobs: entries.length - outcomes,
      refused: this.#refused.size,
      bytes: this.#bytesAll,
      ...this.#bounds,
      oldestAt: entries[0]?.at,
      commitMs: undefined,
      trouble: undefined,
    };
  }

  async close(): Promise<{ left: number }> {
    this.#isClosed = true;
    let left = -this.#lingering;
    for (const entry of this.#entries.values()) {
      if (entry.type === 'outcome' || entry.mark !== 'lingering') left += 1;
    }
    return { left };
  }

  #assertOpen(): void {
    if (this.#isClosed) throw JournalError.closed(PATH);
  }
}
