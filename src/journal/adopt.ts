/**
 * Takes over what replicas left behind that died and never came back. The orphan's lock is held
 * throughout, its entries are on disk here before they go there, and each carries its origin: an
 * adoption that is cut short is done again by whoever comes next, and adds nothing twice.
 */
import { existsSync, readdirSync, renameSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { markAdoption, unmarkAdoption } from './adoption-mark.ts';
import type { Database } from './database.ts';
import type { Position, Row } from './entry.ts';
import { asFault, type Fault } from './fault.ts';
import { journalFolders } from './find.ts';
import {
  type Folder,
  type Lock,
  makePrivateFolder,
  removeOwned,
  replicaOf,
  tryOwn,
} from './folder.ts';
import { type DamageReport, openDatabase } from './rescue.ts';

/** What became of one orphan. */
export interface Adopted {
  /** The replica that left it. */
  replica: string;
  /** Entries that are ours now. */
  entries: number;
  damage: DamageReport | undefined;
}

/** An orphan that was left as it is, e.g. one that a later release wrote. */
export interface AdoptionFault {
  replica: string;
  fault: Fault;
}

export interface Adoption {
  adopted: Adopted[];
  failed: AdoptionFault[];
}

/** Entries that one transaction takes over. */
const ADOPT_BATCH = 500;

/**
 * A folder without a lock came out of a backup, or somebody removed the lock of a living replica: that finds it within a
 * minute and puts it back. A folder that has not changed for so long is nobody's, ms.
 */
const LOCKLESS_MS = 120_000;

/** @param at ms since the epoch, for the report of a damaged orphan */
export function adoptOrphans(ours: Folder, database: Database, at: number): Adoption {
  const base = dirname(ours.path);
  const adoption: Adoption = { adopted: [], failed: [] };
  for (const folder of journalFolders(base, ours)) {
    if (!existsSync(folder.lock) && at - changedAt(folder) < LOCKLESS_MS) continue;
    const replica = replicaOf(basename(folder.path));
    try {
      const lock = tryOwn(folder);
      if (lock === undefined) continue;
      const adopted = adoptOne(folder, lock, ours, database, at);
      if (adopted.entries > 0 || adopted.damage !== undefined) {
        adoption.adopted.push({ replica, ...adopted });
      }
    } catch (error) {
      adoption.failed.push({ replica, fault: asFault(error, folder.path) });
    }
  }
  return adoption;
}

/** When something was made or removed in it, or it was put there, ms since the epoch; Infinity if it is gone. */
function changedAt({ path }: Folder): number {
  return statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? Number.POSITIVE_INFINITY;
}

function adoptOne(
  folder: Folder,
  lock: Lock,
  ours: Folder,
  database: Database,
  at: number,
): Omit<Adopted, 'replica'> {
  let isRemoved = false;
  let step = 0;
  markAdoption(folder, step);
  try {
    const { database: theirs, damage } = openDatabase(folder, at);
    let entries = 0;
    try {
      entries = takeEntries(theirs, database, () => {
        step += 1;
        markAdoption(folder, step);
      });
    } finally {
      theirs.close();
    }
    moveQuarantine(folder, ours);
    removeOwned(folder, lock);
    isRemoved = true;
    return {
      entries,
      damage: damage && {
        ...damage,
        quarantine: quarantineAfterMove(damage.quarantine, folder, ours),
      },
    };
  } finally {
    if (!isRemoved) {
      unmarkAdoption(folder);
      lock.release();
    }
  }
}

/**
 * Moves all entries of a journal that nobody else has.
 * @param onStep called after each batch
 * @returns how many were new here
 */
export function takeEntries(
  theirs: Database,
  ours: Database,
  onStep: () => void = () => undefined,
): number {
  const positions: Position[] = [];
  for (const row of theirs.rows.all()) positions.push(row.position);
  let entries = 0;
  // From the last batch to the first, as each goes in below what is here.
  for (let end = positions.length; end > 0; end -= ADOPT_BATCH) {
    const rows = positions
      .slice(Math.max(0, end - ADOPT_BATCH), end)
      .map((position) => theirs.rows.at(position))
      .filter((row): row is Row => row !== undefined);
    entries += ours.adopt(rows, theirs.id);
    // At once: what we settle from now on must not be adopted again if a later batch fails.
    theirs.remove(rows.map(({ position }) => position));
    onStep();
  }
  return entries;
}

/** What was damaged stays where a person finds it: in the folder of a replica that lives. */
function moveQuarantine(from: Folder, to: Folder): void {
  if (!existsSync(from.quarantine)) return;
  makePrivateFolder(to.quarantine);
  for (const name of readdirSync(from.quarantine)) {
    const path = join(from.quarantine, name);
    renameSync(path, quarantineAfterMove(path, from, to));
  }
}

function quarantineAfterMove(path: string, from: Folder, to: Folder): string {
  return join(to.quarantine, `${basename(from.path)}-${basename(path)}`);
}
