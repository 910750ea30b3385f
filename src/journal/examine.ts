/**
 * Looks at a database without changing it: which format it has, whether SQLite finds its structure
 * sound and whether each row is what was written. Judges only; what follows is decided elsewhere.
 */
import { statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { FORMAT_VERSION, isJournalId } from './database-file.ts';
import { type Position, type Row, unpack } from './entry.ts';
import { cannotOpen, isDamage, isFull, unusable } from './fault.ts';
import type { Folder } from './folder.ts';

/**
 * SQLite gives a database for moments to one alone: to the first that reads it after a crash, to the last
 * that closes it. Whoever else looks at it then waits for as long at most, ms.
 */
export const LOOK_WAIT_MS = 5000;

/** @throws FaultError if a later release wrote the journal; its files are left as they are */
export function refuseNewerFormat(folder: Folder): void {
  const found = readFormat(folder.database);
  if (found === undefined || found <= FORMAT_VERSION) return;
  throw unusable(
    folder.path,
    `has format ${found}; this release knows formats up to ${FORMAT_VERSION}`,
    'Start the release that wrote it until the journal is empty, or use another folder. Nothing was changed.',
  );
}

/** The format of a database, or undefined where it is damaged or not agreed on by both witnesses. */
export function readFormat(file: string | URL): number | undefined {
  return whileReadable(file, (db) => {
    const version = Number(db.prepare('PRAGMA user_version').get()?.user_version);
    const witness = db.prepare("SELECT value FROM meta WHERE key = 'format'").get()?.value;
    return witness === String(version) ? version : undefined;
  });
}

/** A journal's id; undefined where it cannot be read any more. */
export function readId(file: string): string | undefined {
  return whileReadable(file, (db) => {
    const id = db.prepare("SELECT value FROM meta WHERE key = 'id'").get()?.value;
    return typeof id === 'string' && isJournalId(id) ? id : undefined;
  });
}

/** What is wrong with the database and its rows; empty if nothing is. */
export function examineDatabase(folder: Folder): string[] {
  const reasons = whileReadable(folder.database, (db) => {
    const found: string[] = [];
    const [verdict] = db.prepare('PRAGMA integrity_check(1)').all();
    if (verdict?.integrity_check !== 'ok') found.push(String(verdict?.integrity_check));
    const wrong = new Set<Position>();
    for (const row of db.prepare('SELECT * FROM entry').iterate()) {
      if (readRow(row) === undefined) wrong.add(row.position as Position);
    }
    if (wrong.size > 0) found.push(`${wrong.size} entries do not fit their checksum`);
    return found;
  });
  if (reasons === undefined) return ['the database cannot be read'];
  if (reasons.length === 0 && readFormat(folder.database) !== FORMAT_VERSION) {
    reasons.push('the format version is damaged');
  }
  if (reasons.length === 0 && readId(folder.database) === undefined) {
    reasons.push("the journal's id is damaged");
  }
  return reasons;
}

/**
 * Opens a database to read it. SQLite wants an index beside it, also of a log that is not there: where none can be made,
 * on a disk that is read-only or full, a database without a log is read as one that nobody changes.
 */
export function openToLook(file: string | URL): DatabaseSync {
  const db = new DatabaseSync(file, { readOnly: true, timeout: LOOK_WAIT_MS });
  try {
    db.prepare('PRAGMA schema_version').get();
    return db;
  } catch (error) {
    db.close();
    if (file instanceof URL) throw error;
    const hasLog = (statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0;
    if (hasLog || !(cannotOpen(error) || isFull(error))) throw error;
    const url = pathToFileURL(file);
    url.searchParams.set('immutable', '1');
    return new DatabaseSync(url, { readOnly: true });
  }
}

/** What `use` returns, or undefined if it met damage. */
export function whileReadable<T>(
  file: string | URL,
  use: (db: DatabaseSync) => T,
  readOnly = true,
): T | undefined {
  let db: DatabaseSync | undefined;
  try {
    db = readOnly ? openToLook(file) : new DatabaseSync(file, { timeout: LOOK_WAIT_MS });
    return use(db);
  } catch (error) {
    if (isReadDamage(error)) return undefined;
    throw error;
  } finally {
    db?.close();
  }
}

/** A row as SQLite gave it, if its types and its checksum are right. */
export function readRow(raw: Record<string, unknown>): Row | undefined {
  const { position, type, queue, mark, refusal, bytes, crc, origin, head, args } = raw;
  const isShaped =
    [position, bytes, crc].every((value) => typeof value === 'number') &&
    [type, queue, mark, refusal, head, args].every((value) => typeof value === 'string') &&
    (origin === null || typeof origin === 'string');
  const row = raw as unknown as Row;
  return isShaped && unpack(row) !== undefined ? row : undefined;
}

/** SQLite found what it read to be damaged; also a schema or a number that cannot be ours. */
export function isReadDamage(error: unknown): boolean {
  const SQLITE_ERROR = 1;
  const { errcode, code } = error as { errcode?: number; code?: string };
  return isDamage(error) || errcode === SQLITE_ERROR || code === 'ERR_OUT_OF_RANGE';
}
