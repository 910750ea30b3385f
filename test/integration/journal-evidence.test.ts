/** Looking at a damaged journal that nobody owns: what tells of the damage is there for the next one as well. */
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Folder } from '../../src/journal/folder.ts';
import {
  entriesOf,
  journalStatus,
  type Listed,
  putBackRefused,
  verifyFolder,
} from '../../src/journal/inspect.ts';
import { jobNumber } from '../support/journal-entries.ts';
import { journalFolder, type LogLine, logInto, openIn } from '../support/journal-folder.ts';
import { contentOf, killedWith } from '../support/journal-orphan.ts';

const COUNT = 50;
let base: string;
let folder: Folder;

beforeEach(async () => {
  base = await journalFolder();
  folder = await killedWith(
    base,
    'gone',
    Array.from({ length: COUNT }, (_, n) => jobNumber(n + 1)),
  );
  expect(existsSync(folder.sharedMemory)).toBe(true);
});

/** In the second page of the log, and not the last: what comes after it is dropped by SQLite. */
function spoilLog(): void {
  const log = readFileSync(folder.wal);
  for (let at = 9_000; at < 9_300; at++) log[at] = (log[at]! * 31 + at) & 0xff;
  writeFileSync(folder.wal, log);
}

function listed(): { entries: Listed[]; told: unknown[] } {
  const told: unknown[] = [];
  return { entries: [...entriesOf(base, 'gone', (found) => told.push(found))], told };
}

function lookAtAll(): string {
  const [status] = journalStatus(base);
  const { told } = listed();
  return `${status?.unreadable}\n${verifyFolder(base, 'gone').problems}\n${told}`;
}

async function adopted(): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  const journal = await openIn(base, { replica: 'next', log: logInto(lines) });
  await journal.adoptOrphans();
  expect(existsSync(folder.path)).toBe(false);
  return lines;
}

describe('a log that was cut', () => {
  beforeEach(() => truncateSync(folder.wal, 12_400));

  it('is told by every look, as often as one looks, and changes by none', async () => {
    const before = contentOf(folder);
    for (const turn of [1, 2]) {
      const said = lookAtAll();
      expect(
        said.match(/the write-ahead log ends after \d+ pages, \d+ were written/g),
        `${turn}`,
      ).toHaveLength(3);
    }
    expect(contentOf(folder)).toEqual(before);
  });

  it('is told by who adopts it afterwards, and put into quarantine', async () => {
    lookAtAll();
    const [line] = await adopted();
    expect(line?.message).toContain('the journal was damaged');
    expect(readdirSync(String(line?.fields.quarantine))).toContain('journal.db-wal');
  });

  it('is told when what Redis refused is put back in line', () => {
    expect(putBackRefused(base, 'gone', (args) => args)).toMatchObject({
      count: 0,
      damage: { reasons: [expect.stringContaining('the write-ahead log ends')] },
    });
  });
});

describe('a log with a damaged page', () => {
  beforeEach(spoilLog);

  it('shows the entries that a service would rescue, and says that it is damaged', async () => {
    const before = contentOf(folder);
    const { entries, told } = listed();
    expect(entries.length).toBeGreaterThan(0);
    expect(String(told)).toMatch(/write-ahead log/);
    expect(contentOf(folder)).toEqual(before);
    const [line] = await adopted();
    expect(line?.fields.rescued).toBe(entries.length);
  });

  it('tells of the damage before the first entry, and leaves no copy behind', () => {
    const copies = () => readdirSync(tmpdir()).filter((name) => name.startsWith('holdfast-look-'));
    const told: unknown[] = [];
    const entries = entriesOf(base, 'gone', (found) => told.push(found));
    entries.next();
    expect(told).toHaveLength(1);
    entries.return(undefined);
    expect(copies()).toEqual([]);
  });
});

it('a database that is empty keeps its log when it is looked at', async () => {
  writeFileSync(folder.database, '');
  const before = contentOf(folder);
  expect(lookAtAll().match(/the database is empty or gone/g)).toHaveLength(3);
  expect(contentOf(folder)).toEqual(before);
  expect(listed().entries).not.toEqual([]);
});

it('a folder whose process died before it made a database holds nothing', () => {
  for (const file of [folder.database, folder.wal, folder.sharedMemory]) rmSync(file);
  expect(journalStatus(base)).toMatchObject([{ jobs: 0, unreadable: undefined }]);
  expect(verifyFolder(base, 'gone').problems).toEqual([]);
  expect(listed()).toEqual({ entries: [], told: [] });
});
