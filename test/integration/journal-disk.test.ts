/** The journal on disks that are full, small, read-only or not there; and its bounds. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { JournalError, JournalFullError } from '../../src/errors.ts';
import type { Journal, Position } from '../../src/journal/journal.ts';
import { systemClock } from '../../src/time.ts';
import { jobNumber, outcomeNumber } from '../support/journal-entries.ts';
import {
  allOutcomes,
  journalFolder,
  type LogLine,
  logInto,
  openIn,
} from '../support/journal-folder.ts';
import { canMount, fillUp } from '../support/small-disk.ts';

async function mounted(...args: string[]): Promise<string> {
  const dir = join(await journalFolder(), 'mount');
  mkdirSync(dir);
  execFileSync('mount', [...args, dir]);
  onTestFinished(() => {
    execFileSync('umount', ['--lazy', dir]);
  });
  return dir;
}

describe('a journal that reaches its bounds', () => {
  it('refuses by entries, keeps what it took and goes on once there is room', async () => {
    const journal = await openIn(await journalFolder(), { entriesMax: 3 });
    const results = await Promise.allSettled(
      [1, 2, 3, 4, 5].map((n) => journal.append(outcomeNumber(n))),
    );
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
    ]);
    await expect(journal.append(outcomeNumber(6))).rejects.toThrow(JournalFullError);
    const [first] = await allOutcomes(journal);
    await journal.settle([first?.position as Position]);
    await journal.append(outcomeNumber(7));
    expect((await allOutcomes(journal)).map(({ jobId }) => jobId)).toEqual([
      'job-2',
      'job-3',
      'job-7',
    ]);
  });

  it('refuses by bytes at once, before anything is written', async () => {
    const journal = await openIn(await journalFolder(), { bytesMax: 10_000 });
    await expect(journal.append(outcomeNumber(1, 20_000))).rejects.toMatchObject({
      code: 'HOLDFAST_JOURNAL_FULL',
      message: expect.stringContaining('10000 bytes'),
    });
    await journal.append(outcomeNumber(2, 5_000));
    expect(journal.stats()).toMatchObject({ entries: 1, bytesMax: 10_000 });
    expect(journal.stats().bytes).toBeLessThan(10_000);
  });

  it('counts what a former life left', async () => {
    const dir = await journalFolder();
    const first = await openIn(dir);
    await Promise.all([1, 2, 3].map((n) => first.append(outcomeNumber(n))));
    await first.close();
    const again = await openIn(dir, { entriesMax: 3 });
    await expect(again.append(outcomeNumber(4))).rejects.toThrow(JournalFullError);
  });
});

describe.runIf(canMount)('a journal on a disk that fills up', () => {
  it('refuses, keeps what it took, can be emptied and takes entries again', async () => {
    const dir = await mounted('-t', 'tmpfs', '-o', 'size=16m', 'tmpfs');
    const journal = await openIn(dir);
    expect(journal.warnings).toEqual([expect.stringContaining('tmpfs')]);
    const kept: string[] = [];
    let refusal: unknown;
    for (let number = 0; refusal === undefined; number += 50) {
      const numbers = Array.from({ length: 50 }, (_, i) => number + i);
      const results = await Promise.allSettled(
        numbers.map((n) => journal.append(outcomeNumber(n, 900))),
      );
      for (const [index, result] of results.entries()) {
        if (result.status === 'fulfilled') kept.push(`job-${number + index}`);
        else refusal = result.reason;
      }
    }
    expect(refusal).toBeInstanceOf(JournalFullError);
    expect((refusal as Error).message).toContain(join(dir, 'one'));
    // Most of the 16 MB went to entries.
    expect(kept.length).toBeGreaterThan(8_000);
    const entries = await allOutcomes(journal);
    expect(entries.map(({ jobId }) => jobId)).toEqual(kept);
    const positions = entries.map(({ position }) => position);
    for (let at = 0; at < positions.length; at += 500)
      await journal.settle(positions.slice(at, at + 500));
    expect(journal.stats()).toMatchObject({ entries: 0, bytes: 0 });
    await journal.append(outcomeNumber(1));
    await journal.close();
    const again = await openIn(dir);
    expect((await allOutcomes(again)).map(({ jobId }) => jobId)).toEqual(['job-1']);
  });

  it('holds what was settled for settled while others have taken all space', async () => {
    const dir = await mounted('-t', 'tmpfs', '-o', 'size=16m', 'tmpfs');
    const journal = await openIn(dir);
    const positions = await Promise.all(
      Array.from({ length: 2_000 }, (_, n) => journal.append(outcomeNumber(n, 900))),
    );
    fillUp(dir);
    await expect(
      Promise.all(Array.from({ length: 3_000 }, (_, n) => journal.append(outcomeNumber(n, 900)))),
    ).rejects.toThrow(JournalFullError);
    await journal.settle(positions);
    rmSync(join(dir, 'filler'));
    await journal.append({ ...outcomeNumber(1), jobId: 'after' });
    await journal.close();
    const again = await openIn(dir);
    const ids = (await allOutcomes(again)).map(({ jobId }) => jobId);
    expect(ids).toContain('after');
    const settled = new Set<Position>(positions);
    expect((await allOutcomes(again)).some(({ position }) => settled.has(position))).toBe(false);
  });

  it('is refused at the start on a full disk, as full', async () => {
    const dir = await mounted('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs');
    fillUp(dir);
    await expect(openIn(dir)).rejects.toThrow(JournalFullError);
  });
});

describe('a place that cannot be written', () => {
  it.runIf(canMount)('is refused by its path and with the remedy: a read-only disk', async () => {
    const dir = await mounted('-t', 'tmpfs', '-o', 'ro,size=1m', 'tmpfs');
    await expect(openIn(dir)).rejects.toMatchObject({
      code: 'HOLDFAST_JOURNAL_UNUSABLE',
      message: expect.stringMatching(new RegExp(`${dir}.*cannot be written.*JOURNAL=memory`)),
    });
  });

  it('is refused by its path and with the remedy: a file in place of the folder', async () => {
    const dir = join(await journalFolder(), 'file');
    writeFileSync(dir, '');
    const error = await openIn(dir).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(JournalError);
    expect((error as JournalError).data).toEqual({ path: join(dir, 'one') });
    expect((error as JournalError).remedy).toContain('JOURNAL=memory');
  });
});

describe('a journal whose clock jumps', () => {
  it('keeps the order of acceptance when the clock is set back', async () => {
    const dir = await journalFolder();
    const at = Date.UTC(2026, 0, 1);
    const clock = { ...systemClock, wall: () => at };
    const journal = await openIn(dir, { clock });
    for (const [n, backMs] of [0, 3_600_000, 60_000, 7_200_000].entries()) {
      clock.wall = () => at - backMs;
      await journal.append({ ...jobNumber(n), at: clock.wall() });
    }
    const idsIn = async (of: Journal) => {
      const ids: string[] = [];
      for await (const { jobId } of of.jobs()) ids.push(jobId);
      return ids;
    };
    const order = ['job-0', 'job-1', 'job-2', 'job-3'];
    expect(await idsIn(journal)).toEqual(order);
    await journal.close();
    const again = await openIn(dir, { clock });
    expect(await idsIn(again)).toEqual(order);
    await again.append(jobNumber(4));
    expect(await idsIn(again)).toEqual([...order, 'job-4']);
  });
});

describe('a journal whose disk hangs', () => {
  it('tells its callers at the deadline, and takes back what got written after all', async () => {
    const dir = await journalFolder();
    const journal = await openIn(dir, { replyMs: 500 });
    const position = await journal.append(outcomeNumber(1));
    // Another writer in the database stands for a disk that does not answer; SQLite waits 1 s.
    const hanging = new DatabaseSync(join(dir, 'one', 'journal.db'));
    hanging.exec('BEGIN IMMEDIATE');
    const late = journal.append(outcomeNumber(2));
    await expect(late).rejects.toThrow('did not answer within 500 ms');
    await expect(journal.append(outcomeNumber(3))).rejects.toThrow('did not answer');
    hanging.exec('ROLLBACK');
    hanging.close();
    await expect
      .poll(async () => (await allOutcomes(journal)).map((entry) => entry.position), {
        timeout: 5_000,
      })
      .toEqual([position]);
    await journal.append(outcomeNumber(4));
    expect((await allOutcomes(journal)).map(({ jobId }) => jobId)).toEqual(['job-1', 'job-4']);
  });
});

describe('a journal that is damaged while it is open', () => {
  it('puts the damage aside, says so once, and goes on with the rest', async () => {
    const dir = await journalFolder();
    const lines: LogLine[] = [];
    const journal = await openIn(dir, { log: logInto(lines) });
    const positions = await Promise.all(
      Array.from({ length: 30 }, (_, n) => journal.append(outcomeNumber(n))),
    );
    const other = new DatabaseSync(join(dir, 'one', 'journal.db'));
    other
      .prepare('UPDATE entry SET args = ? WHERE position = ?')
      .run('{"wrong":1}', positions[7] ?? 0);
    other.close();
    const ids = (await allOutcomes(journal)).map(({ jobId }) => jobId);
    expect(ids).toHaveLength(29);
    expect(ids).not.toContain('job-7');
    expect(lines).toEqual([
      expect.objectContaining({
        level: 'error',
        message: expect.stringContaining('29 entries were rescued'),
      }),
    ]);
    await journal.append(outcomeNumber(99));
    expect(journal.stats()).toMatchObject({ entries: 30, refused: 0 });
  });
});

describe('an empty journal', () => {
  it('gives the disk back what an outage took', async () => {
    const dir = await journalFolder();
    const journal = await openIn(dir);
    const positions = await Promise.all(
      Array.from({ length: 5_000 }, (_, n) => journal.append(outcomeNumber(n, 600))),
    );
    await journal.settle(positions);
    expect(statSync(join(dir, 'one', 'journal.db')).size).toBeLessThan(100_000);
    expect(statSync(join(dir, 'one', 'journal.db-wal')).size).toBeLessThan(100_000);
  });
});

describe.each(['disk', 'memory'] as const)('the journal with mode %s', (mode) => {
  const open = async () => openIn(await journalFolder(), { mode });

  it('keeps outcomes and jobs apart, each in order, and by queue', async () => {
    const journal = await open();
    for (let n = 0; n < 6; n++) {
      await journal.append(outcomeNumber(n));
      await journal.append(jobNumber(n));
    }
    const jobs: string[] = [];
    for await (const job of journal.jobs()) jobs.push(job.jobId);
    expect(jobs).toEqual(['job-0', 'job-1', 'job-2', 'job-3', 'job-4', 'job-5']);
    const faq = await allOutcomes(journal, 'faq');
    expect(faq.map(({ jobId }) => jobId)).toEqual(['job-0', 'job-3']);
    expect(faq[1]).toMatchObject(outcomeNumber(3));
    expect(await allOutcomes(journal, 'unknown')).toEqual([]);
    expect(journal.stats()).toMatchObject({ entries: 12, outcomes: 6, jobs: 6 });
  });

  it('finds an accepted job by its id, in its queue only, wherever it stands', async () => {
    const journal = await open();
    // Names that hold the id of another, and an outcome of the same job: neither is the job.
    await journal.append({ ...jobNumber(1), name: 'job-2' });
    await journal.append({ ...outcomeNumber(2), queue: 'mail' });
    await journal.append({ ...jobNumber(2), queue: 'faq' });
    await Promise.all(Array.from({ length: 900 }, (_, n) => journal.append(jobNumber(n + 10))));
    const position = await journal.append(jobNumber(2));
    expect(await journal.find('mail', 'job-2')).toEqual({ ...jobNumber(2), position });
    expect(await journal.find('mail', 'job-909')).toMatchObject(jobNumber(909));
    expect(await journal.find('mail', 'job-9999')).toBeUndefined();
    await journal.refuse(position, 'missing parent');
    expect(await journal.find('mail', 'job-2')).toMatchObject({
      position,
      reason: 'missing parent',
    });
    const again = await journal.append(jobNumber(2));
    expect(await journal.find('mail', 'job-2')).toEqual({ ...jobNumber(2), position: again });
    await journal.settle([position, again]);
    expect(await journal.find('mail', 'job-2')).toBeUndefined();
  });

  it('goes on behind a position', async () => {
    const journal = await open();
    const first = await journal.append(jobNumber(1));
    await journal.append(jobNumber(2));
    const behind: string[] = [];
    for await (const { jobId } of journal.jobs(undefined, first)) behind.push(jobId);
    expect(behind).toEqual(['job-2']);
  });

  it('has an id of its own', async () => {
    expect((await open()).id).not.toBe((await open()).id);
  });

  it('reads more than a page while what was read is settled', async () => {
    const journal = await open();
    await Promise.all(Array.from({ length: 700 }, (_, n) => journal.append(outcomeNumber(n))));
    const seen: string[] = [];
    for await (const entry of journal.outcomes()) {
      seen.push(entry.jobId);
      await journal.settle([entry.position]);
    }
    expect(seen).toEqual(Array.from({ length: 700 }, (_, n) => `job-${n}`));
    expect(journal.stats()).toMatchObject({ entries: 0, bytes: 0, oldestAt: undefined });
  });

  it('keeps a refused entry with its reason until a person settles it', async () => {
    const journal = await open();
    const position = await journal.append(jobNumber(1));
    await journal.append(jobNumber(2));
    await journal.refuse(position, 'missing parent');
    expect(await journal.refused()).toEqual([
      { ...jobNumber(1), position, reason: 'missing parent', refusedAt: expect.any(Number) },
    ]);
    const jobs = [];
    for await (const job of journal.jobs()) jobs.push(job.jobId);
    expect(jobs).toEqual(['job-2']);
    expect(journal.stats()).toMatchObject({ entries: 1, refused: 1 });
    await journal.settle([position]);
    expect(journal.stats()).toMatchObject({ entries: 1, refused: 0 });
  });

  it('notes how far a job is on its way', async () => {
    const journal = await open();
    const position = await journal.append(jobNumber(1));
    await journal.mark([position], 'running');
    for await (const job of journal.jobs()) expect(job.mark).toBe('running');
  });

  it('tells when its oldest entry was made', async () => {
    const journal = await open();
    const position = await journal.append(outcomeNumber(1));
    await journal.append(outcomeNumber(2));
    expect(journal.stats().oldestAt).toBe(outcomeNumber(1).at);
    await journal.settle([position]);
    expect(journal.stats().oldestAt).toBe(outcomeNumber(2).at);
  });

  it('closes after what was asked, tells what is left, and keeps nothing more', async () => {
    const journal = await open();
    const appended = journal.append(outcomeNumber(1));
    expect(await journal.close()).toEqual({ left: 1 });
    await appended;
    expect(await journal.close()).toEqual({ left: 1 });
    await expect(journal.append(outcomeNumber(2))).rejects.toThrow('is closed');
    expect(journal.durable).toBe(mode === 'disk');
  });
});
