/**
 * A journal whose files are not where they were: somebody removed the folder, or put another file in the
 * place of one, while it is open. What is open can still be read, but would be gone with the process. So it
 * is written anew in its place, before anything more is acknowledged. What was found there is kept.
 */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { takeEntries } from './adopt.ts';
import { Database } from './database.ts';
import { createDatabase } from './database-file.ts';
import { readId } from './examine.ts';
import { asFault, FaultError, unusable } from './fault.ts';
import { type Folder, fileIdentity, type Lock, layout, own } from './folder.ts';
import {
  fillDatabase,
  openDatabase,
  putInPlaceViaRescued,
  quarantineFolder,
  writeReport,
} from './rescue.ts';

/** What was done, for the log. */
export interface Reinstatement {
  /** Entries that are in their place again. */
  entries: number;
  /** The folder with what stood in the place of the journal's files; undefined if nothing did. */
  aside: string | undefined;
}

/** A folder that is open. */
export interface OpenFolder {
  database: Database;
  lock: Lock;
  /** Entries that another process had left in our place; whoever looks for orphans is told of them. */
  taken: number;
}

export function isInPlace({ database, lock }: OpenFolder): boolean {
  return lock.isInPlace && database.isInPlace;
}

/**
 * Changes `open` to one that is in its place, with the same entries.
 * @throws FaultError if that cannot be; `open` is as it was
 */
export function reinstate(folder: Folder, open: OpenFolder, at: number): Reinstatement {
  let lock: Lock | undefined;
  try {
    lock = open.lock.isInPlace ? open.lock : own(folder, 0);
    const { id, last, counts, rows } = open.database;
    const fresh = `${folder.database}.new`;
    createDatabase(fresh, id);
    fillDatabase(fresh, rows.all(), last);
    const aside = putAside(folder, open.database, at);
    putInPlaceViaRescued(folder, fresh);
    // Not before: what is open can be read as long as it has no successor. It removes the log of its name: there is none.
    open.database.close();
    if (lock !== open.lock) open.lock.release();
    open.lock = lock;
    open.database = new Database(folder);
    if (aside !== undefined) {
      const reasons = ['it stood in the place of a journal that was open'];
      const taken = takeOthersEntries(aside, open.database, at, reasons);
      open.taken += taken;
      writeReport({ quarantine: aside, reasons, rescued: taken, damaged: [], at });
    }
    return { entries: counts.outcomes + counts.jobs + counts.refused, aside };
  } catch (error) {
    if (lock !== undefined && lock !== open.lock) lock.release();
    const fault = asFault(error, folder.path);
    throw unusable(
      folder.path,
      `was removed or replaced while it was open, and cannot be put back: ${fault.type === 'full' ? fault.limit : fault.what}`,
      'Give the place back to this process; what it kept before goes to Redis as long as it lives.',
      error instanceof FaultError ? error.fault.cause : error,
    );
  }
}

/**
 * Another process may have kept entries in our place meanwhile. A copy of ours has nothing that we do not have.
 * @param reasons hears why they are left where they are
 */
function takeOthersEntries(
  aside: string,
  database: Database,
  at: number,
  reasons: string[],
): number {
  const files = layout(aside);
  const id = readId(files.database);
  if (id === undefined) reasons.push('its id cannot be read');
  if (id === undefined || id === database.id) return 0;
  let theirs: Database;
  try {
    theirs = openDatabase(files, at).database;
  } catch (error) {
    const fault = asFault(error, aside);
    reasons.push(fault.type === 'full' ? fault.limit : fault.what);
    return 0;
  }
  try {
    return takeEntries(theirs, database);
  } finally {
    theirs.close();
    rmSync(files.reserve, { force: true });
  }
}

/** Foreign files in the place of ours, into a folder for a person to look at. */
function putAside(folder: Folder, database: Database, at: number): string | undefined {
  const foreign = [folder.database, folder.wal].filter(
    (file) => existsSync(file) && fileIdentity(file) !== database.identities.get(file),
  );
  if (foreign.length === 0) return undefined;
  const aside = quarantineFolder(folder, at);
  for (const file of foreign) renameSync(file, join(aside, basename(file)));
  return aside;
}
