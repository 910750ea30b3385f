/** Looking at journals from outside, while they are in use and when they are not. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { entriesOf, journalStatus, type Listed, verifyFolder } from '../../src/journal/inspect.ts';
import { jobNumber, outcomeNumber } from '../support/journal-entries.ts';
import { allOutcomes, journalFolder, openIn } from '../support/journal-folder.ts';
import { canMount, fillUp, mountSmall } from '../support/small-disk.ts';

function listed(base: string, replica: string): Listed[] {
  return [...entriesOf(base, replica)];
}

const SOUND = { verdict: 'sound', problems: [] };

describe('inspecting journals', () => {
  it('tells replicas with a living owner from orphans, and what each holds', async () => {
    const base = await journalFolder();
    mkdirSync(join(base, 'not-a-journal'));
    const living = await openIn(base, { replica: 'living' });
    const position = await living.append(jobNumber(1));
    await living.append(outcomeNumber(2));
    await living.append(jobNumber(3));
    await living.refuse(position, 'missing parent');
    const gone = await openIn(base, { replica: 'gone/away' });
    await gone.append(outcomeNumber(4));
    await gone.close();
    expect(journalStatus(base)).toEqual([
      expect.objectContaining({
        replica: 'gone/away',
        owner: 'none',
        outcomes: 1,
        oldestAt: outcomeNumber(4).at,
        unreadable: undefined,
      }),
      expect.objectContaining({
        replica: 'living',
        owner: 'living',
        outcomes: 1,
        jobs: 1,
        refused: 1,
        bytes: living.stats().bytes,
        quarantined: [],
      }),
    ]);
    expect(listed(base, 'living')).toMatchObject([
      { jobId: 'job-1', reason: 'missing parent' },
      { jobId: 'job-2', type: 'outcome' },
      { jobId: 'job-3', type: 'job' },
    ]);
    expect(verifyFolder(base, 'living')).toEqual(SOUND);
  });

  it('leaves a living journal its folder and its entries', async () => {
    const base = await journalFolder();
    const journal = await openIn(base);
    await journal.append(outcomeNumber(1));
    journalStatus(base);
    verifyFolder(base, 'one');
    await expect(openIn(base)).rejects.toThrow('in use by another living process');
    await journal.append(outcomeNumber(2));
    expect(await allOutcomes(journal)).toHaveLength(2);
  });

  it('keeps nobody from opening one that it looks at in that moment', async () => {
    const dir = await journalFolder();
    const first = await openIn(dir);
    await first.append(outcomeNumber(1));
    await first.close();
    // As whoever reads it first after a crash, which SQLite gives the file alone.
    const looker = new DatabaseSync(join(first.path!, 'journal.db'));
    looker.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT');
    setTimeout(() => looker.close(), 300);
    expect((await openIn(dir)).stats().outcomes).toBe(1);
  });

  it('names damage and a newer format without changing a file', async () => {
    const base = await journalFolder();
    for (const replica of ['damaged', 'newer']) {
      const journal = await openIn(base, { replica });
      await journal.append(outcomeNumber(1));
      await journal.close();
    }
    const damaged = join(base, 'damaged', 'journal.db');
    const bytes = readFileSync(damaged);
    bytes[bytes.indexOf('job-1"')] = 0x20;
    writeFileSync(damaged, bytes);
    const newer = new DatabaseSync(join(base, 'newer', 'journal.db'));
    newer.exec("PRAGMA user_version = 3; UPDATE meta SET value = '3' WHERE key = 'format'");
    newer.close();
    expect(verifyFolder(base, 'damaged')).toEqual({
      verdict: 'damaged',
      problems: ['1 entries do not fit their checksum'],
    });
    expect(verifyFolder(base, 'newer')).toEqual({
      verdict: 'unknown',
      problems: [expect.stringContaining('format 3')],
    });
    expect(journalStatus(base)[1]?.unreadable).toContain('format 3');
    expect(readFileSync(damaged)).toEqual(bytes);
    await expect(openIn(base, { replica: 'newer' })).rejects.toThrow('has format 3');
  });

  it('shows where an opened journal has put its damaged files', async () => {
    const base = await journalFolder();
    const journal = await openIn(base);
    await journal.append(outcomeNumber(1));
    await journal.close();
    writeFileSync(join(base, 'one', 'journal.db'), Buffer.alloc(8192, 7));
    expect(journalStatus(base)[0]?.unreadable).toContain('damaged');
    await (await openIn(base)).close();
    expect(journalStatus(base)[0]).toMatchObject({
      unreadable: undefined,
      quarantined: [expect.stringMatching(/^\d{4}-/)],
    });
  });

  it('says why it cannot tell whose a journal is', async () => {
    const base = await journalFolder();
    const journal = await openIn(base);
    await journal.append(outcomeNumber(1));
    await journal.close();
    const lock = join(base, 'one', 'lock.db');
    rmSync(lock);
    mkdirSync(lock);
    const lockFault = expect.stringContaining('disk I/O error');
    expect(journalStatus(base)).toMatchObject([{ owner: 'unknown', outcomes: 1, lockFault }]);
    expect(verifyFolder(base, 'one')).toEqual({
      verdict: 'unknown',
      problems: [expect.stringMatching(/^its lock cannot be tried, .*disk I\/O error/)],
    });
  });
});

describe.runIf(canMount)('inspecting journals on a disk that takes nothing', () => {
  /** An entry of `gone`, closed in order, and one of `living`, whose log holds it. */
  async function twoJournals(): Promise<string> {
    const disk = mountSmall('16m');
    onTestFinished(() => disk.end());
    const gone = await openIn(disk.dir, { replica: 'gone' });
    await gone.append(outcomeNumber(1));
    await gone.close();
    const living = await openIn(disk.dir, { replica: 'living' });
    await living.append(outcomeNumber(2));
    return disk.dir;
  }

  function expectTold(base: string): void {
    expect(journalStatus(base)).toMatchObject([
      { replica: 'gone', owner: 'none', outcomes: 1, unreadable: undefined },
      { replica: 'living', owner: 'living', outcomes: 1, unreadable: undefined },
    ]);
    expect(listed(base, 'gone')).toMatchObject([{ jobId: 'job-1' }]);
    expect(verifyFolder(base, 'gone')).toEqual(SOUND);
  }

  it('tells all of them where it is read-only', async () => {
    const base = await twoJournals();
    const before = readdirSync(base, { recursive: true });
    // A disk whose files are open cannot be remounted so; its second place can.
    const bound = join(await journalFolder(), 'bound');
    mkdirSync(bound);
    execFileSync('mount', ['--bind', base, bound]);
    onTestFinished(() => void execFileSync('umount', ['--lazy', bound]));
    execFileSync('mount', ['-o', 'remount,bind,ro', bound]);
    expectTold(bound);
    expect(readdirSync(base, { recursive: true })).toEqual(before);
  });

  it('tells all of them where it is full to the last byte', async () => {
    const base = await twoJournals();
    fillUp(base);
    expectTold(base);
  });
});
