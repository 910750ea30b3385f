/** Looking at journals from outside, while they are in use and when they are not. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { entriesOf, journalStatus, type Listed, verifyFolder } from '../../src/journal/inspect.ts';
import { jobNumber, outcomeNumber } from '../support/journal-entries.ts';
import { allOutcomes, journalFolder, openIn } from '../support/journal-folder.ts';

function listed(base: string, replica: string): Listed[] {
  return [...entriesOf(base, replica)];
}

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
    expect(verifyFolder(base, 'living')).toEqual({ verdict: 'sound', problems: [] });
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
});
