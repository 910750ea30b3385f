/**
 * The journal on disk, as its callers have it: appends by group commits, reads in pages. The disk
 * itself is behind the thread link; nothing here waits for it.
 */
import { JournalError } from '../errors.ts';
import type { Clock } from '../time.ts';
import type { Adopted } from './adopt.ts';
import { ADOPTION_MS_MAX } from './adoption-mark.ts';
import type { Bounds } from './bounds.ts';
import type {
  Journal,
  JournalLog,
  JournalOptions,
  JournalSizes,
  JournalStats,
} from './contract.ts';
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
import { toError } from './fault.ts';
import { folderOf } from './folder.ts';
import { GroupCommit } from './group-commit.ts';
import { COMMIT_ENTRIES_MAX } from './pending.ts';
import { Removals } from './removals.ts';
import type { DamageReport } from './rescue.ts';
import { type Opening, type StartThread, ThreadLink } from './thread-link.ts';
import { Trouble } from './trouble.ts';

/**
 * `eagerEntries` are committed at once, while others are prepared: then it is the processor and not the
 * disk that is waited for. Fewer wait for the commit that is under way, and share the next fsync. A page of
 * large entries ends before `pageEntries`.
 */
const SIZES: JournalSizes = {
  commitEntries: COMMIT_ENTRIES_MAX,
  eagerEntries: 500,
  pageEntries: 256,
};

/** Of entries without what they carry. */
const HEADS_ENTRIES = 2_000;

/** Entries that a search looks at before others are served: 5 ms for entries of 700 bytes, 27 of 4 KB. */
const FIND_ENTRIES = 10_000;
const FIND_MS = 5_000;

const OWN_WAIT_MS = 5_000;
const REPLY_MS = 10_000;

/** @param startThread another way to run the store than in a thread; for tests */
export async function openDiskJournal(
  options: JournalOptions,
  startThread?: StartThread,
): Promise<Journal> {
  const { path } = folderOf(options.dir, options.replica);
  const { link, opening } = await ThreadLink.start(
    {
      base: options.dir,
      replica: options.replica,
      ownWaitMs: options.ownWaitMs ?? OWN_WAIT_MS,
      path,
      clock: options.clock,
      replyMs: options.replyMs ?? REPLY_MS,
      onWaiting: () =>
        options.log.warn(
          { event: 'journal.waiting', path },
          'another replica takes over what this one had left in its journal; the start waits for the end of that',
        ),
      onDamage: (damage) => reportDamage(options.log, damage),
      onReinstated: ({ entries, aside }) => {
        const found = aside === undefined ? '' : `; what was in its place is in ${aside}`;
        options.log.error(
          { event: 'journal.reinstated', path, entries, aside },
          `the journal was removed or replaced while it was open: its ${entries} entries were written anew${found}`,
        );
      },
    },
    startThread,
  );
  if (opening.damage !== undefined) reportDamage(options.log, opening.damage);
  return new DiskJournal(options, path, link, opening);
}

class DiskJournal implements Journal {
  readonly durable = true;
  readonly path: string;
  readonly warnings: readonly string[];
  readonly #bounds: Bounds;
  readonly #sizes: JournalSizes;
  readonly #clock: Clock;
  readonly #log: JournalLog;
  readonly #link: ThreadLink;
  readonly #removals: Removals;
  readonly #trouble: Trouble;
  readonly #commits: GroupCommit;
  /** Jobs that Redis has and that are not owed any more, although they stay. */
  #lingering = 0;
  #closing: Promise<{ left: number }> | undefined;
  /** Orphans that the last look left as they are, and why. */
  #left: ReadonlyMap<string, Error> = new Map();

  constructor(options: JournalOptions, path: string, link: ThreadLink, opening: Opening) {
    this.path = path;
    this.warnings = opening.warnings;
    this.#bounds = { bytesMax: options.bytesMax, entriesMax: options.entriesMax };
    this.#sizes = { ...SIZES, ...options.sizes };
    this.#clock = options.clock;
    this.#log = options.log;
    this.#link = link;
    this.#removals = new Removals(link);
    const { clock, log, onCommit } = options;
    this.#trouble = new Trouble({ path, clock, log, probe: () => link.ask('probe', []) });
    if (opening.fault !== undefined) this.#trouble.failed(toError(opening.fault));
    this.#commits = new GroupCommit({
      path,
      bounds: this.#bounds,
      sizes: this.#sizes,
      log,
      link,
      removals: this.#removals,
      trouble: this.#trouble,
      onCommit,
    });
  }

  get id(): string {
    return this.#link.id;
  }

  /** No async function, since every entry takes this way. */
  append(entry: Entry): Promise<Position> {
    try {
      this.#assertOpen();
      return this.#commits.append(pack(entry));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async appendAll(entries: readonly Entry[]): Promise<Position[]> {
    this.#assertOpen();
    return await this.#commits.appendAll(entries.map(pack));
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
    from: Position = Number.MIN_SAFE_INTEGER,
  ): AsyncGenerator<Kept> {
    const { pageEntries } = this.#sizes;
    let after = from;
    for (;;) {
      this.#assertOpen();
      const page = await this.#link.ask('page', [{ type, queue, after, limit: pageEntries }]);
      const last = page.at(-1);
      if (last === undefined) return;
      for (const entry of page) {
        // What belongs to it is not on disk yet, and may never be.
        if (this.#commits.isIncomplete(entry.position)) return;
        if (!this.#removals.has(entry.position)) yield entry;
      }
      after = last.position;
    }
  }

  async *heads<T extends EntryType>(type: T): AsyncGenerator<Head<Extract<Entry, { type: T }>>> {
    let after: Position = Number.MIN_SAFE_INTEGER;
    for (;;) {
      this.#assertOpen();
      const query = { type, queue: undefined, after, limit: HEADS_ENTRIES };
      const page = await this.#link.ask('heads', [query]);
      const last = page.at(-1);
      if (last === undefined) return;
      yield* page as Head<Extract<Entry, { type: T }>>[];
      after = last.position;
    }
  }

  async *read(positions: readonly Position[]): AsyncGenerator<Kept> {
    for (let from = 0; from < positions.length; ) {
      this.#assertOpen();
      const asked = positions.slice(from, from + this.#sizes.pageEntries);
      const { entries, next } = await this.#link.ask('read', [asked]);
      yield* entries;
      from += next;
    }
  }

  async find(
    queue: string,
    jobId: string,
    isPassed: (position: Position) => boolean = () => false,
  ): Promise<FoundJob | undefined> {
    this.#assertOpen();
    const giveUpAt = this.#clock.now() + FIND_MS;
    let after: Position = Number.MIN_SAFE_INTEGER;
    let refused: FoundJob | undefined;
    for (;;) {
      this.#assertOpen();
      const query = { queue, jobId, after, limit: FIND_ENTRIES };
      const { entry, next } = await this.#link.ask('find', [query]);
      if (entry && (this.#removals.has(entry.position) || isPassed(entry.position))) {
        after = entry.position;
        continue;
      }
      if (entry !== undefined && entry.reason === undefined) return entry;
      refused ??= entry;
      if (next === undefined) return refused;
      if (this.#clock.now() >= giveUpAt)
        throw new JournalError(
          this.path,
          `could not be searched within ${FIND_MS} ms`,
          'Ask again; if that repeats, look at the disk.',
        );
      after = next;
    }
  }

  async settle(positions: readonly Position[]): Promise<void> {
    this.#assertOpen();
    await this.#removals.remove(positions);
  }

  async mark(positions: readonly Position[], mark: JobMark): Promise<void> {
    this.#assertOpen();
    if (positions.length > 0) await this.#link.ask('mark', [positions, mark]);
    if (mark === 'lingering') this.lingers(positions.length);
  }

  lingers(count: number): void {
    this.#lingering += count;
  }

  async refuse(position: Position, reason: string): Promise<void> {
    this.#assertOpen();
    await this.#link.ask('refuse', [position, reason]);
    this.#log.warn(
      { event: 'journal.kept_apart', position, reason, path: this.path },
      'Redis refuses a journal entry; it is kept apart',
    );
  }

  async refused(limit = this.#bounds.entriesMax): Promise<RefusedEntry[]> {
    this.#assertOpen();
    return this.#link.ask('refused', [limit]);
  }

  async adoptOrphans(): Promise<Adopted[]> {
    this.#assertOpen();
    const { adopted, failed } = await this.#link.ask('adopt', [], undefined, ADOPTION_MS_MAX);
    for (const { damage } of adopted) if (damage !== undefined) reportDamage(this.#log, damage);
    const left = new Map(failed.map(({ replica, fault }) => [replica, toError(fault)]));
    for (const [replica, err] of left) {
      // Looked at from time to time: told once while it stays so.
      if (this.#left.get(replica)?.message === err.message) continue;
      this.#log.error(
        { event: 'journal.orphan_left', from: replica, err },
        'the journal of a dead replica was left as it is',
      );
    }
    this.#left = left;
    return adopted;
  }

  stats(): JournalStats {
    const { outcomes, jobs, refused, bytes, oldestAt } = this.#link.snapshot;
    return {
      entries: outcomes + jobs,
      outcomes,
      jobs,
      refused,
      bytes,
      ...this.#bounds,
      oldestAt,
      commitMs: this.#link.commitMs,
      trouble: this.#trouble.text,
    };
  }

  close(): Promise<{ left: number }> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<{ left: number }> {
    await this.#commits.settled();
    this.#trouble.stop();
    // What failed before.
    await this.#removals.remove([]).catch(() => undefined);
    try {
      await this.#link.ask('close', []);
    } catch (err) {
      this.#log.error(
        { event: 'journal.close_failed', err, path: this.path },
        'the journal was not closed in order',
      );
    } finally {
      await this.#link.terminate();
    }
    const { outcomes, jobs } = this.#link.snapshot;
    return { left: outcomes + jobs - this.#lingering };
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw JournalError.closed(this.path);
  }
}

function reportDamage(log: JournalLog, damage: DamageReport): void {
  const { quarantine, reasons, rescued, damaged } = damage;
  log.error(
    { event: 'journal.damaged', quarantine, reasons, rescued, damaged: damaged.length },
    `the journal was damaged: ${rescued} entries were rescued, the rest is in ${quarantine}`,
  );
}
