/**
 * Looks at journals from outside, for people: which folders there are, whose they are, what is in
 * them, whether they are sound; and puts refused entries back. Needs no journal to be closed; meant
 * for a process of its own, as a living journal tells about itself with `stats`.
 *
 * What tells of damage must outlive the look: SQLite drops the end of a damaged log when it opens a database
 * that nobody has open. So such a log is looked at before, and where it is damaged only a copy is opened.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { JournalError } from '../errors.ts';
import { systemClock } from '../time.ts';
import { FORMAT_VERSION } from './database-file.ts';
import { type Kept, type Row, unpack, unpackRefused } from './entry.ts';
import { examineDatabase, isReadDamage, openToLook, readFormat, whileReadable } from './examine.ts';
import { asFault, toError } from './fault.ts';
import { journalFolders } from './find.ts';
import { type Folder, folderOf, isOwned, replicaOf, tryOwn } from './folder.ts';
import { type DamageReport, openDatabase, sizeOf } from './rescue.ts';
import { RescuedCopy } from './rescued-copy.ts';
import { examineLog } from './wal.ts';

export interface FolderOwner {
  replica: string;
  path: string;
  /** Whether a living process has the folder; `unknown` where its lock cannot be tried. */
  owner: 'living' | 'none' | 'unknown';
  /** Why it cannot. */
  lockFault: string | undefined;
}

export interface FolderStatus extends FolderOwner {
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

/** All replicas' folders below `base`, by name, with what is in them. */
export function journalStatus(base: string): FolderStatus[] {
  return journalFolders(base).map(statusOf).sort(byReplica);
}

/** As `journalStatus`, without a look at what is in them. */
export function journalOwners(base: string): FolderOwner[] {
  return journalFolders(base).map(headOf).sort(byReplica);
}

function byReplica(a: FolderOwner, b: FolderOwner): number {
  return a.replica < b.replica ? -1 : 1;
}

/**
 * Entries of one replica in order, refused ones among them; rows that are damaged do not come. Read
 * as they are asked for, so that a large journal need not fit into memory. Where the log is damaged, those
 * come that a service would rescue.
 * @param onDamaged hears of every row that is left out, and, before the first entry, of a damaged log
 * @throws JournalError if the database cannot be read, at the place from which on it cannot
 */
export function* entriesOf(
  base: string,
  replica: string,
  onDamaged: (what: 'row' | JournalError) => void = () => {},
): Generator<Listed> {
  const folder = folderOf(base, replica);
  const { database, path } = folder;
  const state = stateOf(folder);
  if (state.type === 'absent') return;
  if (state.type === 'newer') {
    throw new JournalError(path, `is not read: ${state.what}`, 'Use that release.');
  }
  if (state.type === 'readable') {
    yield* entriesIn(database, path, onDamaged);
    return;
  }
  onDamaged(
    new JournalError(
      path,
      `is damaged: ${state.what}`,
      'What a service, or holdfast journal replay, will rescue is shown.',
    ),
  );
  using copy = new RescuedCopy(folder);
  yield* entriesIn(copy.folder.database, path, onDamaged);
}

function* entriesIn(
  file: string,
  path: string,
  onDamaged: (what: 'row') => void,
): Generator<Listed> {
  let db: DatabaseSync | undefined;
  try {
    db = openToLook(file);
    for (const raw of db.prepare('SELECT * FROM entry ORDER BY position').iterate()) {
      const row = raw as unknown as Row;
      const entry = unpackRefused(row) ?? unpack(row);
      if (entry === undefined) onDamaged('row');
      else yield entry;
    }
  } catch (error) {
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

/** What became of refused entries: how many are back in line, and the damage that was met and put aside. */
export interface PutBack {
  count: number;
  damage: DamageReport | undefined;
}

/**
 * Puts what Redis refused back in line, in a journal without an owner; nothing if a living process has it by now.
 * @param renewed what the jobs among it carry from then on
 * @throws JournalError if it cannot be opened, e.g. one that a later release wrote
 */
export function putBackRefused(
  base: string,
  replica: string,
  renewed: (args: string) => string,
): PutBack {
  const folder = folderOf(base, replica);
  try {
    const lock = tryOwn(folder);
    if (lock === undefined) return { count: 0, damage: undefined };
    try {
      const { database, damage } = openDatabase(folder, systemClock.wall());
      try {
        return { count: database.putBackRefused(renewed), damage };
      } finally {
        database.close();
      }
    } finally {
      lock.release();
    }
  } catch (error) {
    throw toError(asFault(error, folder.path));
  }
}

/** Gives a folder that came out of a backup the lock that it lacks, so that it can be taken over at once. */
export function giveLock(base: string, replica: string): void {
  const folder = folderOf(base, replica);
  if (!existsSync(folder.lock)) tryOwn(folder)?.release();
}

export interface Soundness {
  /** `unknown`: this release, or this user, cannot tell. */
  verdict: 'sound' | 'damaged' | 'unknown';
  /** What is wrong, or why that is not known; empty if it is sound. */
  problems: string[];
}

/** Whether one replica's files are what was written. */
export function verifyFolder(base: string, replica: string): Soundness {
  const folder = folderOf(base, replica);
  try {
    const state = stateOf(folder);
    if (state.type === 'newer') return { verdict: 'unknown', problems: [state.what] };
    if (state.type === 'damaged') return { verdict: 'damaged', problems: [state.what] };
    const problems = state.type === 'absent' ? [] : examineDatabase(folder);
    if (problems.length > 0) return { verdict: 'damaged', problems };
    const { lockFault } = ownerOf(folder);
    if (lockFault === undefined) return { verdict: 'sound', problems };
    return {
      verdict: 'unknown',
      problems: [`its lock cannot be tried, nor its log be judged: ${lockFault}`],
    };
  } catch (error) {
    return { verdict: 'unknown', problems: [`it cannot be read: ${String(error)}`] };
  }
}

/** What can be done with a folder's files. */
type State =
  | { type: 'readable' }
  /** There is nothing yet: its process died before it made a database. */
  | { type: 'absent' }
  /** A later release wrote it. */
  | { type: 'newer'; what: string }
  /** It must not be opened where it lies. What is in the pages of a readable one is not looked at. */
  | { type: 'damaged'; what: string };

function stateOf(folder: Folder): State {
  const what = damageBesides(folder);
  if (what === undefined) {
    if (sizeOf(folder.database) === undefined) return { type: 'absent' };
    const newer = newerFormat(folder.database);
    return newer === undefined ? { type: 'readable' } : { type: 'newer', what: newer };
  }
  const asItLies = pathToFileURL(folder.database);
  asItLies.searchParams.set('immutable', '1');
  const newer = sizeOf(folder.database) ? newerFormat(asItLies) : undefined;
  return newer === undefined ? { type: 'damaged', what } : { type: 'newer', what: newer };
}

/** What is wrong with the files that SQLite would change or remove when it opens the database. */
function damageBesides(folder: Folder): string | undefined {
  if (!sizeOf(folder.database) && sizeOf(folder.wal)) return 'the database is empty or gone';
  // While its owner lives, the log is in use: only what SQLite shows of it can be judged.
  if (ownerOf(folder).owner !== 'none') return undefined;
  const log = examineLog(folder);
  if (log.type === 'sound') return undefined;
  // Somebody may have opened it meanwhile.
  return ownerOf(folder).owner === 'none' ? log.what : undefined;
}

function headOf(folder: Folder): FolderOwner {
  return { replica: replicaOf(basename(folder.path)), path: folder.path, ...ownerOf(folder) };
}

function statusOf(folder: Folder): FolderStatus {
  const status: FolderStatus = {
    ...headOf(folder),
    outcomes: 0,
    jobs: 0,
    refused: 0,
    bytes: 0,
    oldestAt: undefined,
    quarantined: existsSync(folder.quarantine) ? readdirSync(folder.quarantine).sort() : [],
    unreadable: undefined,
  };
  try {
    const state = stateOf(folder);
    if (state.type === 'readable') status.unreadable = count(folder, status);
    else if (state.type === 'newer') status.unreadable = state.what;
    else if (state.type === 'damaged') {
      status.unreadable = `${state.what}; holdfast journal list shows what can be rescued`;
    }
  } catch (error) {
    status.unreadable = String(error);
  }
  return status;
}

function ownerOf(folder: Folder): Pick<FolderOwner, 'owner' | 'lockFault'> {
  // Out of a backup. A look does not make one.
  if (!existsSync(folder.lock)) return { owner: 'none', lockFault: undefined };
  try {
    return { owner: isOwned(folder) ? 'living' : 'none', lockFault: undefined };
  } catch (error) {
    return { owner: 'unknown', lockFault: String(error) };
  }
}

function newerFormat(file: string | URL): string | undefined {
  const format = readFormat(file);
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
