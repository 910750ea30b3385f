/** A journal whose files are removed or replaced while it is open: what it acknowledged is found by the next. */
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { layout } from '../../src/journal/folder.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { jobNumber, outcomeNumber } from '../support/journal-entries.ts';
import { journalFolder, type LogLine, logInto, openIn } from '../support/journal-folder.ts';

/** Replaced as an editor or a restored backup would: another file with the same name. */
function replace(file: string): void {
  cpSync(file, `${file}.copy`);
  renameSync(`${file}.copy`, file);
}

const WAYS: Record<string, (dir: string) => void> = {
  'the base folder is removed': (dir) => rmSync(dir, { recursive: true }),
  'the folder is removed': (dir) => rmSync(join(dir, 'one'), { recursive: true }),
  'the database is removed': (dir) => rmSync(layout(join(dir, 'one')).database),
  'the log is removed': (dir) => rmSync(layout(join(dir, 'one')).wal),
  'the lock is removed': (dir) => rmSync(layout(join(dir, 'one')).lock),
  'the database is replaced': (dir) => replace(layout(join(dir, 'one')).database),
  'database and log are replaced': (dir) => {
    replace(layout(join(dir, 'one')).database);
    replace(layout(join(dir, 'one')).wal);
  },
};

async function ids(journal: Journal): Promise<string[]> {
  const found: string[] = [];
  for await (const { jobId } of journal.jobs()) found.push(jobId);
  return found;
}

/** What another finds after the death of the process at this moment. */
async function foundAfterDeath(dir: string): Promise<string[]> {
  const copy = join(await journalFolder(), 'copy');
  cpSync(dir, copy, { recursive: true });
  const next = await openIn(copy);
  const found = await ids(next);
  await next.close();
  return found;
}

const MESSAGE = 'the journal was removed or replaced while it was open: its';

it.each(Object.entries(WAYS))('keeps all that it acknowledged when %s', async (_, spoil) => {
  const dir = await journalFolder();
  const lines: LogLine[] = [];
  const journal = await openIn(dir, { log: logInto(lines) });
  const settled = await journal.append(jobNumber(0));
  for (const n of [1, 2, 3]) await journal.append(jobNumber(n));
  const refused = await journal.append(jobNumber(4));
  await journal.refuse(refused, 'missing parent');
  await journal.settle([settled]);
  spoil(dir);
  lines.length = 0;
  const { id } = journal;
  await journal.append(jobNumber(5));
  expect(await ids(journal)).toEqual(['job-1', 'job-2', 'job-3', 'job-5']);
  expect(await foundAfterDeath(dir)).toEqual(['job-1', 'job-2', 'job-3', 'job-5']);
  expect(lines.map(({ message }) => message)).toEqual([expect.stringContaining(MESSAGE)]);
  // It goes on as the journal that it was.
  await journal.append(jobNumber(6));
  expect(lines).toHaveLength(1);
  expect(journal.id).toBe(id);
  expect(journal.stats()).toMatchObject({ jobs: 5, refused: 1 });
  await expect(openIn(dir)).rejects.toThrow('in use by another living process');
});

it('is put back by the look for orphans when nothing is appended any more', async () => {
  const dir = await journalFolder();
  const journal = await openIn(dir);
  await journal.append(jobNumber(1));
  rmSync(join(dir, 'one'), { recursive: true });
  expect(await journal.adoptOrphans()).toEqual([]);
  expect(await foundAfterDeath(dir)).toEqual(['job-1']);
});

it('puts aside what was found in its place', async () => {
  const dir = await journalFolder();
  const lines: LogLine[] = [];
  const journal = await openIn(dir, { log: logInto(lines) });
  await journal.append(outcomeNumber(1));
  const { database, quarantine } = layout(join(dir, 'one'));
  replace(database);
  const foreign = readFileSync(database);
  await journal.append(jobNumber(1));
  const aside = join(quarantine, readdirSync(quarantine)[0]!);
  expect(readFileSync(join(aside, 'journal.db')).equals(foreign)).toBe(true);
  expect(readdirSync(aside)).toContain('report.json');
  expect(lines[0]?.message).toContain(aside);
});

it('acknowledges nothing while another process has its place, and goes on when that ends', async () => {
  const dir = await journalFolder();
  const journal = await openIn(dir);
  await journal.append(jobNumber(1));
  rmSync(join(dir, 'one'), { recursive: true });
  const other = await openIn(dir);
  await expect(journal.append(jobNumber(2))).rejects.toMatchObject({
    code: 'HOLDFAST_JOURNAL_UNUSABLE',
    message: expect.stringMatching(/removed or replaced while it was open.*in use by another/),
  });
  expect(await ids(journal)).toEqual(['job-1']);
  await other.append(jobNumber(9));
  await other.close();
  await journal.append(jobNumber(3));
  // What the other one left is older than all that is here, as with an adoption.
  expect(await ids(journal)).toEqual(['job-9', 'job-1', 'job-3']);
  expect(await foundAfterDeath(dir)).toEqual(['job-9', 'job-1', 'job-3']);
  const told = [{ replica: 'one', entries: 1, damage: undefined }];
  expect(await journal.adoptOrphans()).toEqual(told);
  expect(await journal.adoptOrphans()).toEqual([]);
});

it('still gives what it has when it cannot be put back, and is put back when it can be', async () => {
  const dir = await journalFolder();
  const journal = await openIn(dir);
  await journal.append(jobNumber(1));
  rmSync(join(dir, 'one'), { recursive: true });
  const inTheWay = join(dir, 'one', 'journal.db.rescued');
  mkdirSync(inTheWay, { recursive: true });
  await expect(journal.append(jobNumber(2))).rejects.toThrow('cannot be put back');
  expect(await ids(journal)).toEqual(['job-1']);
  rmdirSync(inTheWay);
  await journal.append(jobNumber(3));
  expect(await foundAfterDeath(dir)).toEqual(['job-1', 'job-3']);
});

it('is put back also where a later release has left a journal, and leaves that aside', async () => {
  const dir = await journalFolder();
  const lines: LogLine[] = [];
  const journal = await openIn(dir, { log: logInto(lines) });
  await journal.append(jobNumber(1));
  rmSync(join(dir, 'one'), { recursive: true });
  const later = await openIn(dir);
  await later.append(jobNumber(9));
  await later.close();
  const { database, quarantine } = layout(join(dir, 'one'));
  const db = new DatabaseSync(database);
  db.exec("PRAGMA user_version = 99; UPDATE meta SET value = '99' WHERE key = 'format'");
  db.close();
  await journal.append(jobNumber(2));
  expect(await ids(journal)).toEqual(['job-1', 'job-2']);
  expect(lines.map(({ message }) => message)).toEqual([expect.stringContaining(MESSAGE)]);
  const aside = join(quarantine, readdirSync(quarantine)[0]!);
  expect(readFileSync(join(aside, 'report.json'), 'utf8')).toContain('format 99');
});
