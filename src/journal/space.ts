/**
 * The disk space of an open journal, and which write may take of it: a reserve, without which a full disk could not be
 * emptied, a bound on what the log holds, so that the reserve is enough, and what is given back to the disk.
 */
import { rmSync, statSync, writeFileSync } from 'node:fs';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { PAGE_BYTES } from './database-file.ts';
import { full, isFull } from './fault.ts';
import { freeBytes } from './file-system.ts';
import { type Folder, makePrivateFile } from './folder.ts';

/** How long a write waits for another connection, ms. */
export const BUSY_MS = 1_000;

/** What removing entries needs at most on a disk that has nothing left: the log, once. */
const RESERVE_BYTES = 1024 * 1024;

/** By so much the database may have to grow when its log is folded in; the rest of the reserve is for the removal. */
const GROWTH_BYTES_MAX = RESERVE_BYTES / 2;

/** With less than this besides the reserve the disk is as good as full: it takes the log of a few entries. */
const ROOM_BYTES = 1024 * 1024;

/** Below this size on disk an empty journal is left as it is. */
const SHRINK_ABOVE_BYTES = 1024 * 1024;

/**
 * Free pages that the disk is given back first: the log of that has room where the reserve had. Each further step is
 * twice as large, as the one before has made room for it.
 */
const GIVE_BACK_PAGES = 64;

/** What a disk that was full has to take before it is said that it takes entries, at least and at most. */
const PROBE_BYTES_MIN = 64 * 1024;
const PROBE_BYTES_MAX = 1024 * 1024;

export class Space {
  readonly #folder: Folder;
  readonly #db: DatabaseSync;
  readonly #pages: StatementSync;
  #hasReserve = false;
  /** The largest entry that the disk had no room for since it was last said to have room. */
  #refusedBytes = 0;

  constructor(folder: Folder, db: DatabaseSync) {
    this.#folder = folder;
    this.#db = db;
    this.#pages = db.prepare('PRAGMA page_count');
    this.#keepReserve();
  }

  get hasReserve(): boolean {
    return this.#hasReserve;
  }

  get isEnough(): boolean {
    return this.#hasReserve && freeBytes(this.#folder.path) >= ROOM_BYTES;
  }

  /** @returns whether there was one */
  #giveReserveUp(): boolean {
    if (!this.#hasReserve) return false;
    rmSync(this.#folder.reserve, { force: true });
    this.#hasReserve = false;
    return true;
  }

  /** Keeps one again, if the disk has room for it. */
  regainReserve(): void {
    if (this.#hasReserve) return;
    // Before the reserve takes the room that this needs.
    this.#giveBack();
    this.#keepReserve();
  }

  /** @throws as SQLite does; what was there stays */
  transaction(write: () => void): void {
    try {
      this.#once(write);
    } catch (error) {
      if (!isFull(error)) throw error;
      // The log keeps the room that it took, also for what did not fit: others may need it.
      this.#fold();
      try {
        this.#once(write);
      } catch (again) {
        this.#fold();
        throw again;
      }
    }
  }

  /** A transaction that makes room or adds next to nothing: may use up the reserve. */
  freeing(write: () => void): void {
    try {
      this.transaction(write);
    } catch (error) {
      if (!isFull(error) || !this.#giveReserveUp()) throw error;
      this.#fold();
      this.#once(write);
    }
  }

  /**
   * A transaction that adds entries. Not without a reserve: what room there is then is needed to settle what is here.
   * @throws FaultError also where they could not be removed any more
   */
  adding(entries: readonly { bytes: number }[], write: () => void): void {
    try {
      this.#admit(entries.reduce((sum, { bytes }) => sum + bytes, 0));
      this.transaction(write);
    } catch (error) {
      if (isFull(error)) {
        for (const { bytes } of entries) this.#refusedBytes = Math.max(this.#refusedBytes, bytes);
      }
      throw error;
    }
  }

  #once(write: () => void): void {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      write();
      this.#db.exec('COMMIT');
    } catch (error) {
      // SQLite has rolled back by itself after most write errors; then this is refused, rightly.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  /**
   * Writes as much as the entry that was refused, so that it has to go to the disk, and removes it.
   * @throws as `adding`; also where the next entries would find the disk full
   */
  probe(): void {
    if (!this.isEnough && this.#freePages * PAGE_BYTES > RESERVE_BYTES) {
      // At once again: what is free inside the database is more.
      this.#giveReserveUp();
      this.regainReserve();
    }
    if (!this.isEnough) throw full(this.#folder.path);
    const bytes = Math.min(PROBE_BYTES_MAX, Math.max(PROBE_BYTES_MIN, this.#refusedBytes));
    this.#admit(bytes);
    const write = this.#db.prepare(
      "INSERT OR REPLACE INTO meta VALUES ('probe', hex(randomblob(?)))",
    );
    // Each byte is two digits; the second is as good as nothing.
    for (const size of [bytes / 2, 1]) this.transaction(() => write.run(size));
    this.#refusedBytes = 0;
  }

  #admit(bytes: number): void {
    if (!this.#hasReserve) throw full(this.#folder.path);
    if (this.#fits(bytes)) return;
    // As far as no reader holds the log.
    this.#db.exec('PRAGMA wal_checkpoint(PASSIVE)');
    if (!this.#fits(bytes)) throw full(this.#folder.path);
  }

  /** Whether entries of together `bytes` can be removed again with the reserve. */
  #fits(bytes: number): boolean {
    const stat = statSync(this.#folder.database, { throwIfNoEntry: false });
    // Removed or replaced: others find that, and heal it.
    if (stat === undefined) return true;
    // Of entries of 2,200 bytes a page holds one, not two.
    const growth = this.#databaseBytes - stat.size + 2 * bytes;
    return growth <= GROWTH_BYTES_MAX || freeBytes(this.#folder.path) >= 2 * growth;
  }

  /** With what the log holds of it. */
  get #databaseBytes(): number {
    return Number(this.#pages.get()?.page_count) * PAGE_BYTES;
  }

  /** Gives the disk back what an outage took, once the journal is empty. */
  shrink(): void {
    if (this.#databaseBytes > SHRINK_ABOVE_BYTES) this.#giveBack();
    this.#keepReserve();
  }

  /** Pages that are free inside the file, to the disk. */
  #giveBack(): void {
    let step = GIVE_BACK_PAGES;
    let free = this.#freePages;
    for (let before = free + 1; free > 0 && free < before; ) {
      before = free;
      try {
        if (!this.#fold()) return;
        this.#db.exec(`PRAGMA incremental_vacuum(${step})`);
        if (!this.#fold()) return;
        free = this.#freePages;
        step *= 2;
      } catch (error) {
        if (!isFull(error)) throw error;
        // Nothing depends on it; the pages are free inside the file all the same.
        if (step === GIVE_BACK_PAGES) return;
        step = GIVE_BACK_PAGES;
        before = free + 1;
      }
    }
  }

  /** Empties the log into the database; false while somebody reads, as both stay as they are then. */
  #fold(): boolean {
    // A reader may take long: nobody waits for that.
    this.#db.exec('PRAGMA busy_timeout = 0');
    try {
      return this.#db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.busy === 0;
    } finally {
      this.#db.exec(`PRAGMA busy_timeout = ${BUSY_MS}`);
    }
  }

  get #freePages(): number {
    return Number(this.#db.prepare('PRAGMA freelist_count').get()?.freelist_count);
  }

  #keepReserve(): void {
    if (this.#hasReserve) return;
    try {
      makePrivateFile(this.#folder.reserve);
      if (statSync(this.#folder.reserve).size !== RESERVE_BYTES)
        writeFileSync(this.#folder.reserve, Buffer.alloc(RESERVE_BYTES));
      this.#hasReserve = true;
    } catch (error) {
      if (!isFull(error)) throw error;
      rmSync(this.#folder.reserve, { force: true });
    }
  }
}
