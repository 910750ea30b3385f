/** A journal that filled its disk itself: whatever was done on the full disk, it can be emptied, on the disk as well. */
import { existsSync, rmSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Database } from '../../src/journal/database.ts';
import { pack } from '../../src/journal/entry.ts';
import { isFull } from '../../src/journal/fault.ts';
import { type Folder, folderOf, makePrivateFolder } from '../../src/journal/folder.ts';
import type { Position } from '../../src/journal/journal.ts';
import { openDatabase } from '../../src/journal/rescue.ts';
import { outcomeNumber } from '../support/journal-entries.ts';
import { canMount, fillUp, mountSmall } from '../support/small-disk.ts';

const ENTRY_BYTES = 20_000;

function smallJournal(size = '8m'): { folder: Folder; database: Database } {
  const disk = mountSmall(size);
  const folder = folderOf(disk.dir, 'one');
  makePrivateFolder(folder.path);
  const { database } = openDatabase(folder, 0);
  onTestFinished(() => {
    database.close();
    disk.end();
  });
  return { folder, database };
}

const big = (number: number, bytes = ENTRY_BYTES) => pack(outcomeNumber(number, bytes));

/** Appends until the disk is full. */
function fill(database: Database, entries = 1, bytes = ENTRY_BYTES): Position[] {
  const kept: Position[] = [];
  for (;;) {
    const batch = Array.from({ length: entries }, (_, n) => big(n, bytes));
    try {
      const first = database.append(batch);
      kept.push(...batch.map((_, n) => first + n));
    } catch (error) {
      if (!isFull(error)) throw error;
      return kept;
    }
  }
}

/** As another process sees it. */
function onDisk({ database }: Folder): number {
  const db = new DatabaseSync(database, { readOnly: true });
  try {
    return Number(db.prepare('SELECT count(*) AS entries FROM entry').get()?.entries);
  } finally {
    db.close();
  }
}

function tryOrFull(act: () => unknown): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (!isFull(error)) throw error;
    return false;
  }
}

function expectAsNew(folder: Folder, database: Database, entries = 0): void {
  expect(onDisk(folder)).toBe(entries);
  database.probe();
  database.append([big(1)]);
  expect(existsSync(folder.reserve)).toBe(true);
}

describe.runIf(canMount)('a journal that filled its disk', () => {
  it('is emptied on the disk although its entries were marked and outcomes were tried', () => {
    const { folder, database } = smallJournal();
    const kept = fill(database);
    for (const position of [...kept]) {
      tryOrFull(() => database.mark([position], 'running'));
      tryOrFull(() => kept.push(database.append([big(position, 300)])));
    }
    expect(existsSync(folder.reserve)).toBe(true);
    for (const position of kept) database.remove([position]);
    expectAsNew(folder, database);
  });

  it('is emptied on the disk whatever the size of its commits was', () => {
    for (const [entries, bytes] of [
      [200, 1_000],
      [1_000, 4_000],
      [1, 1_500_000],
    ] as const) {
      const { folder, database } = smallJournal('24m');
      const kept = fill(database, entries, bytes);
      kept.push(...fill(database, 1, 2_200), ...fill(database, 20, 100));
      // Every second one: no page becomes free before the others go.
      database.remove(kept.filter((_, n) => n % 2 === 0));
      database.remove(kept.filter((_, n) => n % 2 === 1));
      expectAsNew(folder, database);
    }
  });

  it('writes down what it had removed in memory only, as soon as there is room', () => {
    const { folder, database } = smallJournal();
    const kept = fill(database);
    let marks = 0;
    // What is the same is not written.
    const mark = (some: Position[]) => tryOrFull(() => database.mark(some, `mark ${marks++ % 10}`));
    const one = kept.slice(0, 1);
    // The first is folded in at once, as the log is long; the second begins it anew.
    mark(one);
    mark(one);
    // As long as somebody reads in the log, it can only grow: not even a reserve would help.
    const reader = new DatabaseSync(folder.database, { readOnly: true });
    reader.exec('BEGIN; SELECT count(*) FROM entry');
    for (const some of [kept, one]) while (mark(some));
    rmSync(folder.reserve);
    const filler = fillUp(folder.path);
    while (mark(one));
    database.remove(kept.slice(1));
    expect(database.counts.outcomes).toBe(1);
    expect([...database.rows.all()]).toHaveLength(1);
    expect(tryOrFull(() => database.append([big(1, 10)]))).toBe(false);
    reader.close();
    expect(onDisk(folder)).toBe(kept.length);
    rmSync(filler);
    database.tidy();
    expect(onDisk(folder)).toBe(1);
    database.remove(kept);
    expectAsNew(folder, database);
  });

  it('takes entries again although one is left for a person', () => {
    const { folder, database } = smallJournal();
    const kept = fill(database);
    database.refuse(kept[0]!, 'missing parent', 0);
    database.remove(kept.slice(1));
    expectAsNew(folder, database, 1);
  });

  it('has room for marks that write all of its entries anew', () => {
    const { folder, database } = smallJournal();
    const kept = fill(database);
    database.remove(kept.splice(0, kept.length / 2));
    database.probe();
    database.mark(kept, 'lingering');
    expect([...database.rows.all()].every(({ mark }) => mark === 'lingering')).toBe(true);
    expect(statSync(folder.wal).size).toBeLessThan(2 * 1024 * 1024);
  });

  it('does not say that it takes entries where it refuses one of the size that it refused', () => {
    const { folder, database } = smallJournal();
    fill(database, 1, 400_000);
    for (let turn = 0; turn < 5; turn += 1) {
      const says = tryOrFull(() => database.probe());
      expect(tryOrFull(() => database.append([big(turn, 400_000)]))).toBe(says);
    }
    expect(existsSync(folder.reserve)).toBe(true);
    expect(onDisk(folder)).toBe(database.counts.outcomes);
  });
});
