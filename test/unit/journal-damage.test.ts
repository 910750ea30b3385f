/**
 * Damaged files: bits flipped and files cut at random places of a journal that a killed process
 * left. Never a crash, never an entry that was not written, nothing missing without a report, and no
 * job that was begun or refused taken for one that was not.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Position, pack, type Row, unpack } from '../../src/journal/entry.ts';
import { type Folder, layout } from '../../src/journal/folder.ts';
import { type DamageReport, openDatabase } from '../../src/journal/rescue.ts';
import {
  type Cut,
  cut,
  damaged,
  type Flip,
  flip,
  type ImageFile,
} from '../support/journal-damage.ts';
import { outcomeNumber } from '../support/journal-entries.ts';
import { journalFolder } from '../support/journal-folder.ts';
import { type Image, makeImage } from '../support/journal-image.ts';

/** 500 cases copy and fsync files: in memory where there is such a place. */
const FAST_DISK = existsSync('/dev/shm') ? '/dev/shm' : undefined;

let base: string;
let image: Image;
let copies = 0;

beforeEach(async () => {
  base = await journalFolder(FAST_DISK);
  image = makeImage(base);
  expect(image.whole.wal.length).toBeGreaterThan(20 * 4096);
});

function damagedCopy(): Folder {
  const folder = layout(join(base, `case-${copies++}`));
  cpSync(image.folder.path, folder.path, { recursive: true });
  return folder;
}

interface Found {
  rows: Row[];
  damage: DamageReport | undefined;
}

function openAndRead(folder: Folder): Found {
  const { database, damage } = openDatabase(folder, 1);
  try {
    const rows = [...database.rows.all()].map((row) => ({ ...row }));
    expect(rows.filter((row) => unpack(row) === undefined)).toEqual([]);
    // It goes on as a journal after the rescue.
    const next = database.append([pack(outcomeNumber(1000))]);
    expect(next).toBeGreaterThan(Math.max(0, ...rows.map(({ position }) => position)));
    database.remove([next]);
    return { rows, damage };
  } finally {
    database.close();
  }
}

function expectHonest({ rows, damage }: Found): void {
  const positions = rows.map(({ position }) => position);
  expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
  if (damage === undefined) {
    const last = (position: Position) => image.written.get(position)?.at(-1);
    expect(rows).toEqual([...image.live].sort((a, b) => a - b).map(last));
    return;
  }
  expect(damage.rescued).toBe(rows.length);
  for (const row of rows) expectRescued(row);
}

/** A row that came out of damaged files says nothing that was not written, and claims no innocence. */
function expectRescued(row: Row): void {
  const states = image.written.get(row.position) ?? [];
  const { crc: _, mark, refusal, origin, ...content } = row;
  expect(states[0]).toMatchObject(content);
  // Where it comes from, so that who has some of them knows the others; or that nobody knows.
  if (states[0]?.origin) expect(origin).toBe(states[0].origin);
  else expect(origin).toMatch(new RegExp(`^(${image.id}|lost-.*)/${row.position}$`));
  if (row.type === 'outcome') return;
  const marks = states.map((state) => state.mark);
  // It may have been begun, and what tells may be lost.
  expect(mark).not.toBe('unsent');
  if (mark !== 'doubtful') expect(marks).toContain(mark);
  else expect(marks).toContain('unsent');
  if (refusal !== '') expect(states.map((state) => state.refusal)).toContain(refusal);
}

/** 500 cases in all: some seconds, more on a busy machine. */
const FUZZ_MS = 120_000;

/**
 * How much of a log was written is told by the log and by the head of the index beside it. Where the one is cut
 * and both copies of the other are spoiled, nobody can know it.
 */
function canKnow(files: Record<ImageFile, Buffer>): boolean {
  const isHead = (at: number) =>
    files.sharedMemory.subarray(at, at + 48).equals(image.whole.sharedMemory.subarray(at, at + 48));
  return files.wal.length === image.whole.wal.length || isHead(0) || isHead(48);
}

/** One case: opens what is left, and looks at what was reported and put aside. */
function tryCase(flips: readonly Flip[], cuts: readonly Cut[]): void {
  const files = damaged(image.whole, flips, cuts);
  const folder = layout(join(base, `case-${copies++}`));
  mkdirSync(folder.path);
  for (const which of Object.keys(files) as ImageFile[]) writeFileSync(folder[which], files[which]);
  const found = openAndRead(folder);
  const { damage } = found;
  if (damage !== undefined || canKnow(files)) expectHonest(found);
  if (damage !== undefined) {
    const { quarantine } = damage;
    expect(JSON.parse(readFileSync(join(quarantine, 'report.json'), 'utf8'))).toEqual(damage);
    for (const which of Object.keys(files) as ImageFile[]) {
      const kept = readFileSync(join(quarantine, basename(folder[which])));
      expect(kept.equals(files[which]), `${which} in quarantine`).toBe(true);
    }
    // Opened once more, it is sound; tried for some, as it takes as long again.
    if (cuts.length > 0) expect(openAndRead(folder)).toEqual({ ...found, damage: undefined });
  }
  rmSync(folder.path, { recursive: true });
}

describe('a damaged journal', () => {
  it('is read in full when nothing is damaged', () => {
    const found = openAndRead(damagedCopy());
    expect(found.damage).toBeUndefined();
    expectHonest(found);
  });

  it('gives back only what was written, and reports what it lost, after a flipped bit', {
    timeout: FUZZ_MS,
  }, () => {
    fc.assert(
      fc.property(flip, (one) => tryCase([one], [])),
      { numRuns: 200 },
    );
  });

  it('gives back only what was written, and reports what it lost, after a cut', {
    timeout: FUZZ_MS,
  }, () => {
    fc.assert(
      fc.property(cut, (one) => tryCase([], [one])),
      { numRuns: 100 },
    );
  });

  it('gives back only what was written, and reports what it lost, after several flips and cuts', {
    timeout: FUZZ_MS,
  }, () => {
    fc.assert(
      fc.property(
        fc.array(flip, { minLength: 1, maxLength: 12 }),
        fc.array(cut, { maxLength: 2 }),
        tryCase,
      ),
      { numRuns: 200 },
    );
  });

  it('gives back all entries but those of the spoiled page when a page is overwritten', () => {
    const folder = damagedCopy();
    const bytes = readFileSync(folder.database);
    const leaf = bytes.indexOf('job-85"');
    bytes.fill(0x5a, leaf - (leaf % 4096), leaf - (leaf % 4096) + 4096);
    writeFileSync(folder.database, bytes);
    const found = openAndRead(folder);
    expect(found.damage).toBeDefined();
    expectHonest(found);
    expect(found.rows.length).toBeGreaterThan(image.live.size - 40);
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
    expect(found.damage).toBeDefined();
    expectHonest(found);
    expect(found.rows.length).toBe(image.live.size);
  });

  it('knows its entries again after a rescue, and gives none of their places away', () => {
    const folder = damagedCopy();
    const bytes = readFileSync(folder.database);
    const leaf = bytes.indexOf('job-85"');
    bytes.fill(0x5a, leaf - (leaf % 4096), leaf - (leaf % 4096) + 4096);
    writeFileSync(folder.database, bytes);
    const { database, damage } = openDatabase(folder, 1);
    try {
      expect(damage).toBeDefined();
      expect(database.id).not.toBe(image.id);
      for (const { position, origin } of database.rows.all()) {
        expect(origin).toBe(position < 0 ? `another/${position + 5}` : `${image.id}/${position}`);
      }
      database.continueAfter(5000);
      expect(database.append([pack(outcomeNumber(1000))])).toBe(5001);
    } finally {
      database.close();
    }
  });

  it('does not take an id that is spoiled, and looks like one still, for its own', () => {
    const folder = damagedCopy();
    const bytes = readFileSync(folder.database);
    const digit = image.id.search(/\d/);
    const at = bytes.indexOf(image.id) + digit;
    bytes[at] = bytes[at]! ^ 1;
    writeFileSync(folder.database, bytes);
    const found = openAndRead(folder);
    expect(found.damage?.reasons).toEqual(["the journal's id is damaged"]);
    expect(found.rows.length).toBe(image.live.size);
    for (const { origin } of found.rows) expect(origin).toMatch(/^(lost-|another\/)/);
    expectHonest(found);
  });

  it.each(['empty', 'gone'])('gives back what the log has when the database is %s', (what) => {
    const folder = damagedCopy();
    if (what === 'gone') rmSync(folder.database);
    else writeFileSync(folder.database, '');
    const found = openAndRead(folder);
    expect(found.damage?.reasons).toEqual(['the database is empty or gone']);
    expectHonest(found);
    // Committed after all that was folded into the database.
    expect(found.rows.some(({ head }) => head.includes('job-139"'))).toBe(true);
    const kept = readFileSync(join(found.damage?.quarantine ?? '', 'journal.db-wal'));
    expect(kept.equals(image.whole.wal)).toBe(true);
  });

  it.each([16, 64])('tells that its log was cut with byte %i of the index spoiled', (at) => {
    const folder = damagedCopy();
    writeFileSync(folder.wal, image.whole.wal.subarray(0, 32 + 4120 * 10));
    const index = Buffer.from(image.whole.sharedMemory);
    index[at] = index[at]! ^ 1;
    writeFileSync(folder.sharedMemory, index);
    const found = openAndRead(folder);
    expect(found.damage?.reasons).toEqual([expect.stringContaining('were written')]);
    expectHonest(found);
  });

  it('gives back what was committed after a damaged page of the log', () => {
    const folder = damagedCopy();
    const bytes = readFileSync(folder.wal);
    const at = bytes.indexOf('job-104"');
    bytes[at] = 0x20;
    writeFileSync(folder.wal, bytes);
    const found = openAndRead(folder);
    expect(found.damage).toBeDefined();
    expectHonest(found);
    expect(found.rows.some(({ head }) => head.includes('job-139"'))).toBe(true);
  });

  it('is kept as evidence, with a report that names the reasons', () => {
    const folder = damagedCopy();
    const damaged = readFileSync(folder.database);
    damaged[damaged.indexOf('job-85"')] = 0x20;
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
    expect(found.damage).toBeUndefined();
    expectHonest(found);
  });
});
