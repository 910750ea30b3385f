/**
 * Opens a replica's database whatever state its files are in. Steps: finish a rescue that a crash
 * cut short, refuse a newer format, examine; where anything is damaged, copy the files into
 * quarantine as evidence, carry every row that is provably what was written into a new database,
 * and put that in its place. Never repairs in place, never lets a doubtful row through.
 */
import { randomUUID } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Database } from './database.ts';
import { createDatabase, putInPlace, syncPath } from './database-file.ts';
import { checksum, type Position, type Row } from './entry.ts';
import { examineDatabase, readId, refuseNewerFormat } from './examine.ts';
import { isFull } from './fault.ts';
import { type Folder, makePrivateFile, makePrivateFolder } from './folder.ts';
import { migrate } from './migrate.ts';
import { collectRows, FoundRows } from './salvage.ts';
import { examineLog, type LogVerdict } from './wal.ts';

/** What was damaged, for the log and for a person who opens the quarantine. */
export interface DamageReport {
  /** The folder with the damaged files and this report. */
  quarantine: string;
  reasons: string[];
  /** Entries that came through. */
  rescued: number;
  /** Rows that were found but are not what was written. Positions only: their text is in the files. */
  damaged: number[];
  /** When it was found, ms since the epoch. */
  at: number;
}

export interface Opened {
  database: Database;
  damage: DamageReport | undefined;
}

/**
 * On a disk without any space left it gives the reserve up: only who has opened the journal can empty it.
 * @param at ms since the epoch, for the report
 */
export function openDatabase(folder: Folder, at: number): Opened {
  try {
    return examineAndOpen(folder, at);
  } catch (error) {
    if (!isFull(error) || !existsSync(folder.reserve)) throw error;
    rmSync(folder.reserve);
    return examineAndOpen(folder, at);
  }
}

function examineAndOpen(folder: Folder, at: number): Opened {
  finishRescue(folder);
  if (sizeOf(folder.database) === undefined && !sizeOf(folder.wal)) {
    const fresh = `${folder.database}.new`;
    createDatabase(fresh);
    putInPlace(folder, fresh);
  }
  // These first: whatever opens the database rewrites the index that tells how long the log was.
  const index = existsSync(folder.sharedMemory) ? readFileSync(folder.sharedMemory) : undefined;
  const log = examineLog(folder);
  const reasons = examine(folder, log);
  const damage = reasons.length === 0 ? undefined : rescue(folder, { reasons, log, index, at });
  return { database: new Database(folder), damage };
}

/** What is wrong; empty if nothing is. */
function examine(folder: Folder, log: LogVerdict): string[] {
  // SQLite removes the log of an empty database, with all that is in it: it must not open this one.
  if (!sizeOf(folder.database)) return ['the database is empty or gone'];
  refuseNewerFormat(folder);
  if (log.type === 'damaged') return [log.what];
  migrate(folder);
  return examineDatabase(folder);
}

/** Of a file, bytes; undefined if it is not there. */
export function sizeOf(file: string): number | undefined {
  return statSync(file, { throwIfNoEntry: false })?.size;
}

interface Findings {
  reasons: string[];
  log: LogVerdict;
  /** The index beside the log, as it was found. */
  index: Buffer | undefined;
  at: number;
}

function rescue(folder: Folder, { reasons, log, index, at }: Findings): DamageReport {
  const quarantine = quarantineFolder(folder, at);
  const copy = join(quarantine, 'journal.db');
  const work = join(quarantine, 'work.db');
  if (existsSync(folder.database)) copyPrivately(folder.database, copy);
  else makePrivateFile(copy);
  if (existsSync(folder.wal)) copyPrivately(folder.wal, `${copy}-wal`);
  if (index !== undefined) writePrivately(`${copy}-shm`, index);
  const found = new FoundRows();
  let id: string | undefined;
  // The database with each log that may be right.
  for (const wal of logsOf(log, `${copy}-wal`)) {
    for (const suffix of ['-wal', '-shm']) rmSync(work + suffix, { force: true });
    copyPrivately(copy, work);
    if (wal !== undefined) writePrivately(`${work}-wal`, wal);
    collectRows(work, join(quarantine, 'template.db'), found);
    id ??= readId(work);
  }
  const rows = found.rows.map(asRescued(id ?? `lost-${randomUUID()}`));
  const damaged = found.damaged;
  const fresh = `${folder.database}.new`;
  createDatabase(fresh);
  fillDatabase(fresh, rows);
  const report: DamageReport = { quarantine, reasons, rescued: rows.length, damaged, at };
  const reportFile = writeReport(report);
  for (const name of ['work.db', 'template.db']) {
    for (const suffix of ['', '-wal', '-shm']) {
      rmSync(join(quarantine, name + suffix), { force: true });
    }
  }
  for (const path of [reportFile, copy, quarantine]) syncPath(path);
  // From here on the rescue is complete, and finished by whoever opens the folder next.
  putInPlaceViaRescued(folder, fresh);
  return report;
}

/** Puts a report beside the files that it is about; returns its path. */
export function writeReport(report: DamageReport): string {
  const file = join(report.quarantine, 'report.json');
  writePrivately(file, `${JSON.stringify(report, null, 2)}\n`);
  return file;
}

/** The logs to be tried; undefined: none at all. */
function logsOf(log: LogVerdict, asItIs: string): (Buffer | undefined)[] {
  const found = existsSync(asItIs) ? readFileSync(asItIs) : undefined;
  if (log.type === 'sound' || log.repaired === undefined) return [found];
  return log.isRepairSure ? [log.repaired] : [found, log.repaired];
}

/**
 * A rescued journal gets a new id, as nobody knows for sure which positions of the old one were given
 * away; its entries say where they come from, so that whoever has some of them knows the others. Nor
 * does anybody know whether what says that a job was begun is among what is lost.
 */
function asRescued(id: string): (row: Row) => Row {
  return (row) => {
    const mark = row.mark === 'unsent' ? 'doubtful' : row.mark;
    const rescued = { ...row, mark, origin: row.origin ?? `${id}/${row.position}` };
    return { ...rescued, crc: checksum(rescued) };
  };
}

function rescuedFile(folder: Folder): string {
  return `${folder.database}.rescued`;
}

export function putInPlaceViaRescued(folder: Folder, fresh: string): void {
  const complete = rescuedFile(folder);
  putInPlace(
    { ...folder, database: complete, wal: `${complete}-wal`, sharedMemory: `${complete}-shm` },
    fresh,
  );
  finishRescue(folder);
}

function finishRescue(folder: Folder): void {
  if (existsSync(rescuedFile(folder))) putInPlace(folder, rescuedFile(folder));
}

export function quarantineFolder(folder: Folder, at: number): string {
  makePrivateFolder(folder.quarantine);
  const stamp = new Date(at).toISOString().replaceAll(':', '-');
  for (let turn = 0; ; turn++) {
    const path = join(folder.quarantine, turn === 0 ? stamp : `${stamp}-${turn}`);
    if (existsSync(path)) continue;
    mkdirSync(path, { mode: 0o700 });
    return path;
  }
}

function copyPrivately(from: string, to: string): void {
  makePrivateFile(to);
  copyFileSync(from, to);
}

function writePrivately(file: string, bytes: Buffer | string): void {
  makePrivateFile(file);
  writeFileSync(file, bytes);
}

/**
 * Writes rows as they are into a new database; on disk when it returns.
 * @param last no position up to this one is given there again
 */
export function fillDatabase(file: string, rows: Iterable<Row>, last?: Position): void {
  const db = new DatabaseSync(file);
  try {
    db.exec('PRAGMA synchronous = FULL; BEGIN');
    const insert = db.prepare('INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    for (const row of rows) {
      const { position, type, queue, mark, refusal, bytes, crc, origin, head, args } = row;
      insert.run(...[position, type, queue, mark, refusal, bytes, crc, origin, head, args]);
    }
    if (last !== undefined) {
      db.exec("DELETE FROM sqlite_sequence WHERE name = 'entry'");
      db.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES ('entry', ?)").run(last);
    }
    db.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)');
  } finally {
    db.close();
  }
}
