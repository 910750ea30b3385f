/**
 * The journal's database as a file: its format, how an empty one is made, and how a complete one gets into
 * its place, so that a crash at any moment leaves the old one or the new one.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { type Folder, makePrivateFile } from './folder.ts';

/** Stands in SQLite's `user_version` and, as a witness against damage, in the table `meta`. */
export const FORMAT_VERSION = 1;

/** Fixed, so that the first page of every journal of one format is the same. */
export const PAGE_BYTES = 4096;

const UUID_LENGTH = 36;

/** `origin` is unique so that an adoption that was cut short and begun again adds nothing twice. */
const SCHEMA = `
  PRAGMA page_size = ${PAGE_BYTES};
  PRAGMA auto_vacuum = INCREMENTAL;
  PRAGMA journal_mode = WAL;
  BEGIN;
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE entry (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL, queue TEXT NOT NULL, mark TEXT NOT NULL, refusal TEXT NOT NULL,
    bytes INTEGER NOT NULL, crc INTEGER NOT NULL, origin TEXT, head TEXT NOT NULL,
    args TEXT NOT NULL
  );
  CREATE UNIQUE INDEX entry_origin ON entry (origin) WHERE origin IS NOT NULL;
  PRAGMA user_version = ${FORMAT_VERSION};
  COMMIT;
`;

/** A journal's id carries its own checksum: with one bit flipped it would still look like an id, of another journal. */
function newJournalId(): string {
  const uuid = randomUUID();
  return `${uuid}-${checkDigits(uuid)}`;
}

/** Whether the text is an id of a journal, as it was given. */
export function isJournalId(text: string): boolean {
  const uuid = text.slice(0, UUID_LENGTH);
  return text === `${uuid}-${checkDigits(uuid)}`;
}

function checkDigits(uuid: string): string {
  return crc32(uuid).toString(16).padStart(8, '0');
}

/** Makes an empty database in a file of its own, complete and on disk when this returns. */
export function createDatabase(file: string, id: string = newJournalId()): void {
  for (const leftover of [file, `${file}-wal`, `${file}-shm`]) rmSync(leftover, { force: true });
  makePrivateFile(file);
  const db = new DatabaseSync(file);
  try {
    db.exec(SCHEMA);
    const meta = db.prepare('INSERT INTO meta VALUES (?, ?)');
    meta.run('format', String(FORMAT_VERSION));
    meta.run('id', id);
  } finally {
    db.close();
  }
  syncPath(file);
}

/** Puts a complete database in its place: after this call it is there, or the old one is. */
export function putInPlace(folder: Folder, complete: string): void {
  // A log belongs to no database in particular: SQLite would replay a stale one over the new file.
  for (const stale of [folder.wal, folder.sharedMemory]) rmSync(stale, { force: true });
  renameSync(complete, folder.database);
  syncPath(folder.path);
}

export function syncPath(path: string): void {
  // Never a database that is open: closing it here would drop SQLite's locks.
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
