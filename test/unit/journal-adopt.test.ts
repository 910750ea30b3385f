/** Adoption that is cut short, and what it may not touch. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { adoptOrphans } from '../../src/journal/adopt.ts';
import { markAdoption } from '../../src/journal/adoption-mark.ts';
import type { Database } from '../../src/journal/database.ts';
import { pack, unpack } from '../../src/journal/entry.ts';
import { type Folder, folderOf, own } from '../../src/journal/folder.ts';
import { openDatabase } from '../../src/journal/rescue.ts';
import { outcomeNumber } from '../support/journal-entries.ts';
import { journalFolder } from '../support/journal-folder.ts';

interface Place {
  base: string;
  ours: Folder;
  database: Database;
}

async function place(): Promise<Place> {
  const base = await journalFolder();
  const ours = folderOf(base, 'ours');
  mkdirSync(ours.path);
  return { base, ours, database: openDatabase(ours, 1).database };
}

/** A folder whose process is dead, with entries from 0 to `count`. */
function orphan(base: string, replica: string, count: number): Folder {
  const folder = folderOf(base, replica);
  own(folder, 0).release();
  const { database } = openDatabase(folder, 1);
  database.append(Array.from({ length: count }, (_, n) => pack(outcomeNumber(n))));
  database.close();
  return folder;
}

function jobIds(database: Database): (string | undefined)[] {
  return [...database.rows.all()].map((row) => unpack(row)?.jobId);
}

const numbers = (count: number) => Array.from({ length: count }, (_, n) => `job-${n}`);

it('adds nothing twice and keeps the order when an adoption was cut short by a crash', async () => {
  const { base, ours, database } = await place();
  const folder = orphan(base, 'dead', 1_100);
  // The first batch is ours already, on disk here and there, when the adopter dies.
  const theirs = openDatabase(folder, 1).database;
  database.adopt([...theirs.rows.all()].slice(600), theirs.id);
  theirs.close();
  expect(adoptOrphans(ours, database, 1)).toEqual({
    adopted: [{ replica: 'dead', entries: 600, damage: undefined }],
    failed: [],
  });
  expect(jobIds(database)).toEqual(numbers(1_100));
  expect(existsSync(folder.path)).toBe(false);
  database.close();
});

it("takes over a folder without a lock once no living process can have lost it, and nobody else's database", async () => {
  const { base, ours, database } = await place();
  const folder = orphan(base, 'restored', 3);
  rmSync(folder.lock);
  const foreign = folderOf(base, 'foreign');
  mkdirSync(foreign.path);
  const theirs = new DatabaseSync(foreign.database);
  theirs.exec('CREATE TABLE t (x)');
  theirs.close();
  const madeAt = statSync(folder.path).ctimeMs;
  expect(adoptOrphans(ours, database, madeAt + 119_000).adopted).toEqual([]);
  expect(adoptOrphans(ours, database, madeAt + 121_000)).toEqual({
    adopted: [{ replica: 'restored', entries: 3, damage: undefined }],
    failed: [],
  });
  expect(existsSync(folder.path)).toBe(false);
  expect(existsSync(foreign.database)).toBe(true);
  database.close();
});

it('adds nothing twice when the rest of a half-adopted journal was rescued from damage', async () => {
  const { base, ours, database } = await place();
  const folder = orphan(base, 'dead', 60);
  const theirs = openDatabase(folder, 1).database;
  database.adopt([...theirs.rows.all()].slice(40), theirs.id);
  theirs.close();
  const bytes = readFileSync(folder.database);
  bytes[bytes.indexOf('job-30"')] = 0x20;
  writeFileSync(folder.database, bytes);
  const { adopted } = adoptOrphans(ours, database, 1);
  expect(adopted).toMatchObject([{ entries: 39, damage: { rescued: 59 } }]);
  expect(jobIds(database)).toEqual(numbers(60).filter((id) => id !== 'job-30'));
  // A reader sees where an entry was first written.
  const [first] = [...database.rows.all()].map((row) => unpack(row));
  expect(first?.origin).toMatch(/^[\da-f-]{45}\/1$/);
  database.close();
});

it('adds nothing twice when the adopter of an adopter is cut short as well', async () => {
  const { base, ours, database } = await place();
  const first = orphan(base, 'first', 10);
  const second = orphan(base, 'second', 0);
  const there = openDatabase(first, 1).database;
  const between = openDatabase(second, 1).database;
  between.adopt([...there.rows.all()], there.id);
  there.close();
  between.close();
  adoptOrphans(ours, database, 1);
  expect(jobIds(database)).toEqual(numbers(10));
  database.close();
});

it('leaves the journal of a later release as it is, and says so', async () => {
  const { base, ours, database } = await place();
  const folder = orphan(base, 'later', 3);
  const newer = new DatabaseSync(folder.database);
  newer.exec("PRAGMA user_version = 2; UPDATE meta SET value = '2' WHERE key = 'format'");
  newer.close();
  expect(adoptOrphans(ours, database, 1)).toEqual({
    adopted: [],
    failed: [{ replica: 'later', fault: expect.objectContaining({ path: folder.path }) }],
  });
  expect(existsSync(folder.database)).toBe(true);
  expect(jobIds(database)).toEqual([]);
  database.close();
});

it('leaves folders alone that are none of a journal', async () => {
  const { base, ours, database } = await place();
  mkdirSync(join(base, 'lost+found'));
  expect(adoptOrphans(ours, database, 1)).toEqual({ adopted: [], failed: [] });
  expect(existsSync(join(base, 'lost+found'))).toBe(true);
  database.close();
});

it('moves what was damaged of an orphan to a folder that lives', async () => {
  const { base, ours, database } = await place();
  const folder = orphan(base, 'dead', 20);
  const other = new DatabaseSync(folder.database);
  other.exec("UPDATE entry SET args = 'wrong' WHERE position = 5");
  other.close();
  const { adopted } = adoptOrphans(ours, database, Date.UTC(2026, 0, 2));
  expect(adopted).toMatchObject([{ replica: 'dead', entries: 19, damage: { damaged: [5] } }]);
  expect(existsSync(adopted[0]?.damage?.quarantine ?? '')).toBe(true);
  expect(existsSync(folder.path)).toBe(false);
  database.close();
});

it('leaves no mark of an adoption for who owns the folder next, however that ended', async () => {
  const { base, ours, database } = await place();
  const cutShort = orphan(base, 'cut short', 1);
  markAdoption(cutShort, 1);
  own(cutShort, 0).release();
  expect(existsSync(cutShort.adopting)).toBe(false);
  const later = orphan(base, 'later', 1);
  const theirs = new DatabaseSync(later.database);
  theirs.exec("PRAGMA user_version = 2; UPDATE meta SET value = '2' WHERE key = 'format'");
  theirs.close();
  expect(adoptOrphans(ours, database, 1)).toMatchObject({ failed: [{ replica: 'later' }] });
  expect(existsSync(later.adopting)).toBe(false);
  database.close();
});
