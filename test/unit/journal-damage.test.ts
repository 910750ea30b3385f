/**
 * Damaged files: bits flipped and files cut at random places of a journal that a killed process
 * left. Never a crash, never an entry that was not written, nothing missing without a report.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Kept, type Position, pack, unpack } from '../../src/journal/entry.ts';
import { type Folder, layout } from '../../src/journal/folder.ts';
import { openDatabase } from '../../src/journal/rescue.ts';
import { outcomeNumber } from '../support/journal-entries.ts';
import { journalFolder } from '../support/journal-folder.ts';

/** 500 cases copy and fsync files: in memory where there is such a place. */
const FAST_DISK = existsSync('/dev/shm') ? '/dev/shm' : undefined;

let base: string;
/** The files of a killed process: some entries in the database, some in the log, some settled. */
let image: Folder;
/** The id of that journal. */
let imageId: string;
const written = new Map<Position, Kept>();
const live = new Set<Position>();
let copies = 0;

beforeEach(async () => {
  base = await journalFolder(FAST_DISK);
  const folder = layout(join(base, 'living'));
  mkdirSync(folder.path);
  const { database } = openDatabase(folder, 1);
  imageId = database.id;
  written.clear();
  live.clear();
  const append = (from: number, to: number) => {
    for (let number = from; number < to; number += 5) {
      const entries = [0, 1, 2, 3, 4].map((i) => outcomeNumber(number + i, (number * 37) % 700));
      const first = database.append(entries.map(pack));
      for (const [index, entry] of entries.entries()) {
        written.set(first + index, { ...entry, position: first + index });
        live.add(first + index);
      }
    }
  };
  const settle = (positions: Position[]) => {
    database.remove(positions);
    for (const position of positions) live.delete(position);
  };
  append(0, 100);
  settle([2, 3, 50, 51, 99]);
  const folding = new DatabaseSync(folder.database);
  folding.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  folding.close();
  append(100, 140);
  settle([4, 60, 120]);
  image = layout(join(base, 'image'));
  cpSync(folder.path, image.path, { recursive: true });
  database.close();
  expect(statSync(image.wal).size).toBeGreaterThan(20 * 4096);
});

function damagedCopy(): Folder {
  const folder = layout(join(base, `case-${copies++}`));
  cpSync(image.path, folder.path, { recursive: true });
  return folder;
}

interface Found {
  entries: Kept[];
  reported: boolean;
}

function openAndRead(folder: Folder): Found {
  const { database, damage } = openDatabase(folder, 1);
  try {
    const entries: Kept[] = [];
    for (const row of database.rows.all()) {
      const entry = unpack(row);
      if (entry !== undefined) entries.push(entry);
    }
    // It goes on as a journal after the rescue.
    const next = database.append([pack(outcomeNumber(1000))]);
    expect(next).toBeGreaterThan(Math.max(0, ...entries.map(({ position }) => position)));
    database.remove([next]);
    return { entries, reported: damage !== undefined };
  } finally {
    database.close();
  }
}

function expectHonest({ entries, reported }: Found): void {
  for (const { origin, ...entry } of entries) {
    expect(entry).toEqual(written.get(entry.position));
    // Rescued entries say where they come from, so that who has some of them knows the others; where
    // the journal's id was lost, they say that.
    if (reported) expect(origin).toMatch(new RegExp(`^(${imageId}|lost-.*)/${entry.position}$`));
    else expect(origin).toBeUndefined();
  }
  const positions = entries.map(({ position }) => position);
  expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
  if (!reported) expect(new Set(positions)).toEqual(live);
}

/** 500 cases in all: some seconds, more on a busy machine. */
const FUZZ_MS = 120_000;

/** As a share of the file. Even, where fast-check's doubles are mostly next to 0. */
const anywhere = fc.noBias(fc.nat(999_999)).map((millionths) => millionths / 1_000_000);

const file = fc.constantFrom<'database' | 'wal' | 'sharedMemory'>(
  'database',
  'database',
  'wal',
  'wal',
  'sharedMemory',
);

describe('a damaged journal', () => {
  it('is read in full when nothing is damaged', () => {
    const found = openAndRead(damagedCopy());
    expect(found.reported).toBe(false);
    expectHonest(found);
  });

  it('gives back only what was written, and reports what it lost, after a flipped bit', {
    timeout: FUZZ_MS,
  }, () => {
    fc.assert(
      fc.property(file, anywhere, fc.nat(7), (which, where, bit) => {
        const folder = damagedCopy();
        const bytes = readFileSync(folder[which]);
        const at = Math.floor(where * bytes.length);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
        writeFileSync(folder[which], bytes);
        expectHonest(openAndRead(folder));
        rmSync(folder.path, { recursive: true });
      }),
      { numRuns: 350 },
    );
  });

  it('gives back only what was written, and reports what it lost, after a cut', {
    timeout: FUZZ_MS,
  }, () => {
    fc.assert(
      fc.property(file, anywhere, (which, where) => {
        const folder = damagedCopy();
        truncateSync(folder[which], Math.floor(where * statSync(folder[which]).size));
        expectHonest(openAndRead(folder));
        rmSync(folder.path, { recursive: true });
      }),
      { numRuns: 150 },
    );
  });

  it('gives back all entries but those of the spoiled page when a page is overwritten', () => {
    const folder = damagedCopy();
    const bytes = readFileSync(folder.database);
    const leaf = bytes.indexOf('job-30"');
    bytes.fill(0x5a, leaf - (leaf % 4096), leaf - (leaf % 4096) + 4096);
    writeFileSync(folder.database, bytes);
    const found = openAndRead(folder);
    expect(found.reported).toBe(true);
    expectHonest(found);
    expect(found.entries.length).toBeGreaterThan(live.size - 40);
  });

  it('gives back all entries when the first page is lost', () => {
    const folder = damagedCopy();
    // Folded, so that no log holds a copy of that page.
    const folding = new DatabaseSync(folder.database);
    folding.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    folding.close();
    const bytes = readFileSync(folder.database);
    bytes.fill(0, 0, 4096);
    writeFileSync(folder.database, bytes);
    const found = openAndRead(folder);
    expect(found.reported).toBe(true);
    expectHonest(found);
    expect(found.entries.length).toBe(live.size);
  });

  it('knows its entries again after a rescue, and gives none of their places away', () => {
    const folder = damagedCopy();
    const bytes = readFileSync(folder.database);
    const leaf = bytes.indexOf('job-30"');
    bytes.fill(0x5a, leaf - (leaf % 4096), leaf - (leaf % 4096) + 4096);
    writeFileSync(folder.database, bytes);
    const { database, damage } = openDatabase(folder, 1);
    try {
      expect(damage).toBeDefined();
      expect(database.id).not.toBe(imageId);
      for (const row of database.rows.all()) expect(row.origin).toBe(`${imageId}/${row.position}`);
      database.continueAfter(5000);
      expect(database.append([pack(outcomeNumber(1000))])).toBe(5001);
    } finally {
      database.close();
    }
  });

  it('gives back what was committed after a damaged page of the log', () => {
    const folder = damagedCopy();
    const bytes = readFileSync(folder.wal);
    const at = bytes.indexOf('job-104"');
    bytes[at] = 0x20;
    writeFileSync(folder.wal, bytes);
    const found = openAndRead(folder);
    expect(found.reported).toBe(true);
    expectHonest(found);
    expect(found.entries.some(({ jobId }) => jobId === 'job-139')).toBe(true);
  });

  it('is kept as evidence, with a report that names the reasons', () => {
    const folder = damagedCopy();
    const damaged = readFileSync(folder.database);
    damaged[damaged.indexOf('job-30"')] = 0x20;
    writeFileSync(folder.database, damaged);
    const { database, damage } = openDatabase(folder, Date.UTC(2026, 0, 2));
    database.close();
    expect(damage).toMatchObject({ rescued: expect.any(Number), reasons: [expect.any(String)] });
    const quarantine = damage?.quarantine ?? '';
    expect(basename(quarantine)).toBe('2026-01-02T00-00-00.000Z');
    expect(readFileSync(join(quarantine, 'journal.db'))).toEqual(damaged);
    const report = JSON.parse(readFileSync(join(quarantine, 'report.json'), 'utf8'));
    expect(report).toEqual(damage);
    expect(readdirSync(quarantine).filter((name) => name.startsWith('work'))).toEqual([]);
    expect(statSync(join(quarantine, 'journal.db')).mode & 0o777).toBe(0o600);
    // Opened once more, it is sound.
    const again = openDatabase(folder, 1);
    again.database.close();
    expect(again.damage).toBeUndefined();
  });

  it('of a newer format is refused by name and left untouched', () => {
    const folder = damagedCopy();
    const newer = new DatabaseSync(folder.database);
    newer.exec("PRAGMA user_version = 9; UPDATE meta SET value = '9' WHERE key = 'format'");
    newer.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    newer.close();
    const before = readFileSync(folder.database);
    expect(() => openDatabase(folder, 1)).toThrow('has format 9');
    expect(readFileSync(folder.database)).toEqual(before);
    expect(existsSync(folder.quarantine)).toBe(false);
  });

  it('finishes a rescue that a crash cut short just before the end', () => {
    const folder = damagedCopy();
    const sound = damagedCopy();
    const folding = new DatabaseSync(sound.database);
    folding.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    folding.close();
    cpSync(sound.database, `${folder.database}.rescued`);
    writeFileSync(folder.database, 'whatever the crash left');
    const found = openAndRead(folder);
    expect(found.reported).toBe(false);
    expectHonest(found);
  });
});
