/**
 * What is appended, into group commits: all that comes while the disk is busy shares the next transaction
 * and its fsync. Keeps the bounds before anything is written, and takes out again what was written after its
 * callers were told that it is not kept.
 */
import { setImmediate } from 'node:timers/promises';
import { type Bounds, overBounds, type Usage } from './bounds.ts';
import type { JournalLog, JournalSizes } from './contract.ts';
import type { Packed, Position } from './entry.ts';
import { bytesOf, Group, PendingGroups, partsOf } from './pending.ts';
import type { Removals } from './removals.ts';
import type { ThreadLink } from './thread-link.ts';
import { columnsOf } from './thread-protocol.ts';
import type { Trouble } from './trouble.ts';

/** Commits that may be under way: more than one when it is the processor that is waited for. */
const COMMITS_MAX = 2;

export interface GroupCommitDeps {
  path: string;
  bounds: Bounds;
  sizes: JournalSizes;
  log: JournalLog;
  link: ThreadLink;
  removals: Removals;
  trouble: Trouble;
  onCommit: ((tookMs: number) => void) | undefined;
}

export class GroupCommit {
  readonly #deps: GroupCommitDeps;
  /** Appended, but not in a commit yet. */
  readonly #pending: PendingGroups;
  /** What the pending and the committing entries will take. */
  readonly #promised: Usage = { bytes: 0, entries: 0 };
  /** On disk, but not all that they were appended with. */
  readonly #incomplete = new Set<Position>();
  /** Commits that the thread has not answered. */
  #underWay = 0;
  /** Set while commits are due or under way; resolves when nothing is pending. */
  #commits: Promise<void> | undefined;

  constructor(deps: GroupCommitDeps) {
    this.#deps = deps;
    this.#pending = new PendingGroups(deps.sizes.commitEntries);
  }

  /** Whether what belongs to the entry is not on disk yet, and may never be: readers end before it. */
  isIncomplete(position: Position): boolean {
    return this.#incomplete.has(position);
  }

  /**
   * No async function, since every entry takes this way.
   * @throws JournalFullError, at once; rejects with JournalError
   */
  append(packed: Packed): Promise<Position> {
    this.#reserve({ bytes: packed.bytes, entries: 1 });
    return this.#enter(packed, 1, packed.bytes);
  }

  /** All or none. @throws JournalFullError, JournalError */
  async appendAll(packed: readonly Packed[]): Promise<Position[]> {
    this.#reserve({ bytes: bytesOf(packed), entries: packed.length });
    const parts = partsOf(packed, this.#deps.sizes.commitEntries);
    const written: Position[] = [];
    const ends = await Promise.allSettled(
      parts.map(async (part) => {
        const first = await this.#enter(part, part.length, bytesOf(part));
        if (parts.length === 1) return first;
        for (const index of part.keys()) {
          written.push(first + index);
          this.#incomplete.add(first + index);
        }
        return first;
      }),
    );
    for (const position of written) this.#incomplete.delete(position);
    const positions = ends.flatMap((end, i) =>
      end.status === 'fulfilled' ? parts[i]!.map((_, index) => end.value + index) : [],
    );
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed === undefined) return positions;
    this.#takeBack(positions);
    throw failed.reason;
  }

  /** Resolves when nothing is pending or under way. */
  async settled(): Promise<void> {
    await this.#commits;
  }

  /** @throws JournalFullError when there is no room for all of it; JournalError */
  #reserve(added: Usage): void {
    const { path, bounds, link } = this.#deps;
    const { outcomes, jobs, refused, bytes } = link.snapshot;
    const used = {
      bytes: bytes + this.#promised.bytes,
      entries: outcomes + jobs + refused + this.#promised.entries,
    };
    const error = link.silence ?? overBounds(path, used, added, bounds);
    if (error !== undefined) throw error;
    this.#promised.bytes += added.bytes;
    this.#promised.entries += added.entries;
  }

  /** Resolves with the first's position. */
  #enter(packed: Packed | readonly Packed[], entries: number, bytes: number): Promise<Position> {
    const { eagerEntries } = this.#deps.sizes;
    return new Promise<Position>((resolve, reject) => {
      this.#pending.push(new Group(packed, entries, bytes, resolve, reject));
      this.#commits ??= this.#commitPending();
      if (this.#pending.entries >= eagerEntries && this.#underWay < COMMITS_MAX) {
        void this.#commit(this.#pending.takeBatch());
      }
    });
  }

  /**
   * One commit after the other while anything is pending, the first at the end of this turn of the
   * event loop: all that the turn appends shares it. Never rejects.
   */
  async #commitPending(): Promise<void> {
    await setImmediate();
    while (!this.#pending.isEmpty) await this.#commit(this.#pending.takeBatch());
    this.#commits = undefined;
  }

  /** Never rejects. */
  async #commit(batch: Group[]): Promise<void> {
    const { link, trouble, onCommit } = this.#deps;
    this.#underWay += 1;
    const packed = batch.flatMap((part) => part.packed);
    try {
      const first = await link.ask('append', [columnsOf(packed)], (late) =>
        this.#takeBack(packed.map((_, index) => late + index)),
      );
      this.#release(batch);
      trouble.worked();
      // Nothing else has been answered since: this runs before the thread's next message.
      onCommit?.(link.commitMs ?? 0);
      let at = first;
      for (const part of batch) {
        part.resolve(at);
        at += part.entries;
      }
    } catch (error) {
      trouble.failed(error);
      // While the disk hangs, what waits behind this commit is told at once as well.
      const refused = link.silence === undefined ? batch : [...batch, ...this.#pending.takeAll()];
      this.#release(refused);
      for (const { reject } of refused) reject(error as Error);
    } finally {
      this.#underWay -= 1;
    }
  }

  #release(batch: readonly Group[]): void {
    for (const { entries, bytes } of batch) {
      this.#promised.entries -= entries;
      this.#promised.bytes -= bytes;
    }
  }

  /** Entries whose callers were told that they are not kept must not come back. */
  #takeBack(positions: readonly Position[]): void {
    if (positions.length === 0) return;
    const { removals, log, path } = this.#deps;
    removals.remove(positions).catch((err) => {
      log.error(
        { event: 'journal.take_back_failed', err, entries: positions.length, path },
        'entries that were refused because the disk failed are in the journal all the same',
      );
    });
  }
}
