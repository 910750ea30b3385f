/**
 * The disk space of an open journal: the reserve, without which a full disk could not be emptied, and what is given
 * back once the journal is empty.
 */
import { rmSync, statSync, writeFileSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { PAGE_BYTES } from './database-file.ts';
import { full, isFull } from './fault.ts';
import { freeBytes } from './file-system.ts';
import { type Folder, makePrivateFile } from './folder.ts';

/** What removing entries needs at most on a disk that has nothing left: the log, once. */
const RESERVE_BYTES = 1024 * 1024;

/** With less than this besides the reserve the disk is as good as full: it takes the log of a few entries. */
const ROOM_BYTES = 1024 * 1024;

/** Below this size on disk an empty journal is left as it is. */
const SHRINK_ABOVE_BYTES = 1024 * 1024;

/**
 * Free pages that the disk is given back first: the log of that has room where the reserve had. Each further step is
 * twice as large, as the one before has made room for it.
 */
const GIVE_BACK_PAGES = 64;

export class Space {
  readonly #folder: Folder;
  readonly #db: DatabaseSync;
  #hasReserve = false;

  constructor(folder: Folder, db: DatabaseSync) {
    this.#folder = folder;
    this.#db = db;
    this.#keepReserve();
  }

  get isEnough(): boolean {
    return this.#hasReserve && freeBytes(this.#folder.path) >= ROOM_BYTES;
  }

  /** @returns whether there was one */
  giveReserveUp(): boolean {
    if (!this.#hasReserve) return false;
    rmSync(this.#folder.reserve, { force: true });
    this.#hasReserve = false;
    return true;
  }

  /** @throws FaultError when the disk has no room for it */
  regainReserve(): void {
    if (this.#hasReserve) return;
    this.#keepReserve();
    if (this.#hasReserve) return;
    this.#giveBack();
    this.#keepReserve();
    if (!this.#hasReserve) throw full(this.#folder.path);
  }

  /** Gives the disk back what an outage took, once the journal is empty. */
  shrink(): void {
    if (this.#read('page_count') * PAGE_BYTES > SHRINK_ABOVE_BYTES) this.#giveBack();
    this.#keepReserve();
  }

  /** Pages that are free inside the file, to the disk. */
  #giveBack(): void {
    let step = GIVE_BACK_PAGES;
    let free = this.#read('freelist_count');
    for (let before = free + 1; free > 0 && free < before; ) {
      before = free;
      try {
        if (!this.#fold()) return;
        this.#db.exec(`PRAGMA incremental_vacuum(${step})`);
        if (!this.#fold()) return;
        free = this.#read('freelist_count');
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
    return this.#db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.busy === 0;
  }

  #read(pragma: 'page_count' | 'freelist_count'): number {
    return Number(this.#db.prepare(`PRAGMA ${pragma}`).get()?.[pragma]);
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
