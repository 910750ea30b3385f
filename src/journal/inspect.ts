/**
 * Looks at journals from outside, for people: which folders there are, whose they are, what is in
 * them, whether they are sound; and puts refused entries back. Needs no journal to be closed; meant
 * for a process of its own, as a living journal tells about itself with `stats`.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { JournalError } from '../errors.ts';
import { systemClock } from '../time.ts';
import { FORMAT_VERSION } from './database-file.ts';
import { type Kept, type Row, unpack, unpackRefused } from './entry.ts';
import { examineDatabase, isReadDamage, openToLook, readFormat, whileReadable } from './examine.ts';
import { asFault } from './fault.ts';
import { type Folder, folderOf, isOwned, layout, replicaOf, tryOwn } from './folder.ts';
import { openDatabase } from './rescue.ts';
import { examineLog } from './wal.ts';

export interface FolderStatus {
  replica: string;
  path: string;
  /** Whether a living process has the folder; `unknown` where its lock cannot be tried. */
  owner: 'living' | 'none' | 'unknown';
  /** Why it cannot. */
  lockFault: string | undefined;
  outcomes: number;
  jobs: number;
  refused: number;
  bytes: number;
  /** When the oldest entry was made, ms since the epoch. */
  oldestAt: number | undefined;
  /** Folders with damaged files and their reports. */
  quarantined: string[];
  /** Why the entries could not be counted; then the counts are 0. */
  unreadable: string | undefined;
}

/** An entry as a person sees it; `reason` is set if Redis refused it. */
export type Listed = Kept & { reason?: string; refusedAt?: number };

/** All replicas' folders below `base`, by name. */
export function journalStatus(base: string): FolderStatus[] {
  return readdirSync(base, { withFileTypes: true })
    .filter((child) => child.isDirectory() && existsSync(layout(join(base, child.name)).lock))
    .map((child) => statusOf(layout(join(base, child.name))))
    .sort((a, b) => (a.replica < b.replica ? -1 : 1));
}

/**
 * Entries of one replica in order, refused ones among them; rows that are damaged do not come. Read
 * as they are asked for, so that a large journal need not fit into memory.
 * @param onDamaged hears of every row that is left out
 * @throws JournalError if the database cannot be read, at the place from which on it cannot
 */
export function* entriesOf(
  base: string,
  replica: string,
  onDamaged: () => void = () => {},
): Generator<Listed> {
  const folder = folderOf(base, replica);
  const { database, path } = folder;
  let db: DatabaseSync | undefined;
  try {
    const format = formatProblem(folder);
    if (format !== undefined) {
      throw new JournalError(path, `is not read: ${format}`, 'Use that release.');
    }
    db = openToLook(database);
    for (const raw of db.prepare('SELECT * FROM entry ORDER BY position').iterate()) {
      const row = raw as unknown as Row;
      const entry = unpackRefused(row) ?? unpack(row);
      if (entry === undefined) onDamaged();
      else yield entry;
    }
  } catch (error) {
    if (error instanceof Error && 'errcode' in error && !isReadDamage(error)) {
      throw new JournalError(
        path,
        `cannot be read: ${error.message}`,
        'Try as the user who owns it, or with a copy of the whole folder on a disk that has room.',
        error,
      );
    }
    if (!isReadDamage(error)) throw error;
    throw new JournalError(
      path,
      'is damaged',
      'holdfast journal verify tells where; a service that opens it rescues the rest.',
      error,
    );
  } finally {
    db?.close();
  }
}

/**
 * Puts what Redis refused back in line, in a journal without an owner.
 * @param renewed what the jobs among it carry from then on
 * @returns how many; 0 also if a living process has the journal by now
 */
export function putBackRefused(
  base: string,
  replica: string,
  renewed: (args: string) => string,
): number {
  const folder = folderOf(base, replica);
  const lock = tryOwn(folder);
  if (lock === undefined) return 0;
  try {
    const { database } = openDatabase(folder, systemClock.wall());
    try {
      return database.putBackRefused(renewed);
    } finally {
      database.close();
    }
  } finally {
    lock.release();
  }
}

export interface Verdict {
  /** What is wrong with the files; empty if nothing is. */
  problems: string[];
  /** What could not be looked at, and why. */
  unexamined: string[];
}

/** Judges one replica's files. */
export function verifyFolder(base: string, replica: string): Verdict {
  const folder = folderOf(base, replica);
  const verdict: Verdict = { problems: [], unexamined: [] };
  try {
    const { owner, lockFault } = ownerOf(folder);
    if (lockFault !== undefined) {
      verdict.unexamined.push(`its lock cannot be tried (${lockFault}), nor its log be judged`);
    }
    // While its owner lives, the log is in use: only what SQLite shows of it can be judged.
    const log = owner === 'none' ? examineLog(folder) : undefined;
    const format = formatProblem(folder);
    if (format !== undefined) return { ...verdict, problems: [format] };
    if (log?.type === 'damaged') verdict.problems.push(log.what);
    verdict.problems.push(...examineDatabase(folder));
  } catch (error) {
    verdict.unexamined.push(`it cannot be read (${reasonOf(error)})`);
  }
  return verdict;
}

function statusOf(folder: Folder): FolderStatus {
  const status: FolderStatus = {
    replica: replicaOf(basename(folder.path)),
    path: folder.path,
    ...ownerOf(folder),
    outcomes: 0,
    jobs: 0,
    refused: 0,
    bytes: 0,
    oldestAt: undefined,
    quarantined: existsSync(folder.quarantine) ? readdirSync(folder.quarantine).sort() : [],
    unreadable: undefined,
  };
  try {
    status.unreadable = formatProblem(folder) ?? count(folder, status);
  } catch (error) {
    status.unreadable = reasonOf(error);
  }
  return status;
}

function ownerOf(folder: Folder): Pick<FolderStatus, 'owner' | 'lockFault'> {
  try {
    return { owner: isOwned(folder) ? 'living' : 'none', lockFault: undefined };
  } catch (error) {
    return { owner: 'unknown', lockFault: reasonOf(error) };
  }
}

function reasonOf(error: unknown): string {
  return asFault(error, '').cause ?? String(error);
}

function formatProblem(folder: Folder): string | undefined {
  const format = readFormat(folder.database);
  return format !== undefined && format > FORMAT_VERSION
    ? `format ${format} is of a later release; this one knows formats up to ${FORMAT_VERSION}`
    : undefined;
}

/** Fills in the counts; returns why not if the database is damaged. */
function count(folder: Folder, status: FolderStatus): string | undefined {
  const counted = whileReadable(folder.database, (db) => {
    const kinds = db.prepare(
      "SELECT type, refusal <> '' AS refused, count(*) AS entries, sum(bytes) AS bytes FROM entry GROUP BY 1, 2",
    );
    for (const { type, refused, entries, bytes } of kinds.iterate()) {
      const kind = refused === 1 ? 'refused' : type === 'outcome' ? 'outcomes' : 'jobs';
      status[kind] += Number(entries);
      status.bytes += Number(bytes);
    }
    const first = db.prepare('SELECT * FROM entry ORDER BY position LIMIT 1').get();
    status.oldestAt = first === undefined ? undefined : unpack(first as unknown as Row)?.at;
    return 'counted';
  });
  return counted === undefined ? 'the database is damaged; verify tells more' : undefined;
}
