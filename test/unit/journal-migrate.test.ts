/** From the format of one release to that of the next. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { pack } from '../../src/journal/entry.ts';
import { readFormat } from '../../src/journal/examine.ts';
import { type Folder, layout } from '../../src/journal/folder.ts';
import { type Migrations, migrate } from '../../src/journal/migrate.ts';
import { openDatabase } from '../../src/journal/rescue.ts';
import { outcomeNumber } from '../support/journal-entries.ts';
import { journalFolder } from '../support/journal-folder.ts';

const addColumn: Migrations = {
  1: (db) => db.exec("ALTER TABLE entry ADD COLUMN note TEXT NOT NULL DEFAULT ''"),
  2: (db) => db.exec("UPDATE entry SET note = 'from ' || position"),
};

async function journalWith(count: number): Promise<Folder> {
  const folder = layout(join(await journalFolder(), 'one'));
  mkdirSync(folder.path);
  const { database } = openDatabase(folder, 1);
  database.append(Array.from({ length: count }, (_, n) => pack(outcomeNumber(n))));
  database.close();
  return folder;
}

function notes(folder: Folder): unknown[] {
  const db = new DatabaseSync(folder.database);
  try {
    return db.prepare('SELECT note FROM entry ORDER BY position').all();
  } finally {
    db.close();
  }
}

it('goes through every step, and only once', async () => {
  const folder = await journalWith(2);
  migrate(folder, addColumn, 3);
  expect(readFormat(folder.database)).toBe(3);
  expect(notes(folder)).toEqual([{ note: 'from 1' }, { note: 'from 2' }]);
  migrate(folder, addColumn, 3);
  expect(readFormat(folder.database)).toBe(3);
});

it('leaves the old format whole when a step fails in the middle', async () => {
  const folder = await journalWith(3);
  const failing: Migrations = {
    ...addColumn,
    2: () => {
      throw new Error('the power went');
    },
  };
  expect(() => migrate(folder, failing, 3)).toThrow('the power went');
  expect(readFormat(folder.database)).toBe(1);
  const { database, damage } = openDatabase(folder, 1);
  expect(damage).toBeUndefined();
  expect(database.counts.outcomes).toBe(3);
  database.close();
});

it('refuses by name a format that no step leads on from, and changes nothing', async () => {
  const folder = await journalWith(1);
  expect(() => migrate(folder, {}, 2)).toThrow('has format 1, which this release cannot bring');
  expect(readFormat(folder.database)).toBe(1);
});

it('leaves the format of this release as it is', async () => {
  const folder = await journalWith(1);
  migrate(folder);
  expect(readFormat(folder.database)).toBe(1);
});
