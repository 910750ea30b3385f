/**
 * Opens a replica's database whatever state its files are in. Steps: finish a rescue that a crash
 * cut short, refuse a newer format, examine; where anything is damaged, copy the files into
 * quarantine as evidence, carry every row that is provably what was written into a new database,
 * and put that in its place. Never repairs in place, never lets a doubtful row through.
 */
import { randomUUID } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { validate } from 'uuid';
import { Database } from './database.ts';
import { createDatabase, putInPlace, syncPath } from './database-file.ts';
import { checksum, type Row } from './entry.ts';
import { examineDatabase, refuseNewerFormat, whileReadable } from './examine.ts';
import { type Folder, makePrivateFile, makePrivateFolder } from './folder.ts';
import { migrate } from './migrate.ts';
import { collectRows } from './salvage.ts';
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

/** @param at ms since the epoch, for the report */
export function openDatabase(folder: Folder, at: number): Opened {
  finishRescue(folder);
  if (!existsSync(folder.database)) {
    const fresh = `${folder.database}.new`;
    createDatabase(fresh);
    putInPlace(folder, fresh);
  }
  // The log first: whatever opens the database rewrites the index that tells how long it was.
  const log = examineLog(folder);
  refuseNewerFormat(folder);
  if (log.type === 'sound') migrate(folder);
  const reasons = log.type === 'damaged' ? [log.what] : examineDatabase(folder);
  const damage = reasons.length === 0 ? undefined : rescue(folder, reasons, log, at);
  return { database: new Database(folder), damage };
}

function rescue(folder: Folder, reasons: string[], log: LogVerdict, at: number): DamageReport {
  const quarantine = quarantineFolder(folder, at);
  const copy = join(quarantine, 'journal.db');
  const work = join(quarantine, 'work.db');
  for (const [from, name] of [
    [folder.database, 'journal.db'],
    [folder.wal, 'journal.db-wal'],
    [folder.sharedMemory, 'journal.db-shm'],
  ] as const) {
    if (existsSync(from)) copyPrivately(from, join(quarantine, name));
  }
  copyPrivately(copy, work);
  if (log.type === 'damaged' && log.repaired !== undefined) {
    makePrivateFile(`${work}-wal`);
    writeFileSync(`${work}-wal`, log.repaired);
  } else if (existsSync(`${copy}-wal`)) {
    copyPrivately(`${copy}-wal`, `${work}-wal`);
  }
  const { rows, damaged } = collectRows(work, join(quarantine, 'template.db'));
  const fresh = `${folder.database}.new`;
  createDatabase(fresh);
  fill(fresh, rows.map(withOrigin(readId(work))));
  const report: DamageReport = { quarantine, reasons, rescued: rows.length, damaged, at };
  const reportFile = join(quarantine, 'report.json');
  makePrivateFile(reportFile);
  writeFileSync(reportFile, `${JSON.stringify(report, null, 2)}\n`);
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

/**
 * A rescued journal gets a new id, as nobody knows for sure which positions of the old one were given
 * away; its entries say where they come from, so that whoever has some of them knows the others.
 */
function withOrigin(id: string): (row: Row) => Row {
  return (row) => {
    if (row.origin !== null) return row;
    const rescued = { ...row, origin: `${id}/${row.position}` };
    return { ...rescued, crc: checksum(rescued) };
  };
}

/** The damaged journal's id; where it cannot be read any more, one that no other journal has. */
function readId(work: string): string {
  const id = whileReadable(
    work,
    (db) => db.prepare("SELECT value FROM meta WHERE key = 'id'").get()?.value,
  );
  const isSound = typeof id === 'string' && validate(id);
  return isSound ? id : `lost-${randomUUID()}`;
}

function rescuedFile(folder: Folder): string {
  return `${folder.database}.rescued`;
}

function putInPlaceViaRescued(folder: Folder, fresh: string): void {
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

function quarantineFolder(folder: Folder, at: number): string {
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

function fill(file: string, rows: readonly Row[]): void {
  const db = new DatabaseSync(file);
  try {
    db.exec('PRAGMA synchronous = FULL; BEGIN');
    const insert = db.prepare('INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    for (const row of rows) {
      const { position, type, queue, mark, refusal, bytes, crc, origin, head, args } = row;
      insert.run(...[position, type, queue, mark, refusal, bytes, crc, origin, head, args]);
    }
    db.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)');
  } finally {
    db.close();
  }
}
