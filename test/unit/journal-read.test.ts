/** Entries of the journal that are read again by their places. */
import { expect, it } from 'vitest';
import type { Journal, Kept, Position } from '../../src/journal/journal.ts';
import { MemoryJournal } from '../../src/journal/memory-journal.ts';
import { systemClock } from '../../src/time.ts';
import { jobNumber, outcomeNumber } from '../support/journal-entries.ts';
import { journalFolder, openIn } from '../support/journal-folder.ts';

const BYTES_MAX = 64 * 1024 * 1024;

const journals: Record<string, () => Promise<Journal>> = {
  disk: async () => await openIn(await journalFolder()),
  memory: async () =>
    new MemoryJournal({ bytesMax: BYTES_MAX, entriesMax: 10_000, clock: systemClock }),
};

async function read(journal: Journal, positions: readonly Position[]): Promise<Kept[]> {
  const entries: Kept[] = [];
  for await (const entry of journal.read(positions)) entries.push(entry);
  return entries;
}

it.each(Object.entries(journals))(
  'come from %s in the order asked for, as many as there are and whatever their kind, without what is gone or refused',
  async (_name, open) => {
    const journal = await open();
    const jobs = await journal.appendAll(Array.from({ length: 300 }, (_, i) => jobNumber(i)));
    const [end] = await journal.appendAll([outcomeNumber(1)]);
    await journal.settle([jobs[5]!]);
    await journal.refuse(jobs[6]!, 'no');
    const asked = [end!, ...jobs.toReversed(), 1_000_000];
    const entries = await read(journal, asked);
    const wanted = asked.filter((at) => at !== jobs[5] && at !== jobs[6] && at !== 1_000_000);
    expect(entries.map(({ position }) => position)).toEqual(wanted);
    expect(entries[0]).toMatchObject({ type: 'outcome', jobId: 'job-1' });
    expect(await read(journal, [])).toEqual([]);
  },
);

it.each(Object.entries(journals))(
  'are looked through in %s by their heads, of one kind and in order, without what they carry',
  async (_name, open) => {
    const journal = await open();
    await journal.appendAll([jobNumber(1), outcomeNumber(2), jobNumber(3)]);
    await journal.append(outcomeNumber(4));
    const jobs: string[] = [];
    for await (const head of journal.heads('job')) jobs.push(head.jobId);
    expect(jobs).toEqual(['job-1', 'job-3']);
    for await (const head of journal.heads('outcome')) {
      expect(head).toMatchObject({ kind: 'completed', attemptsStarted: 1 });
      expect(head).not.toHaveProperty('args');
    }
  },
);

it('come all although they are too large for one page', async () => {
  const journal = await openIn(await journalFolder());
  const large = Array.from({ length: 6 }, (_, i) => outcomeNumber(i, 1024 * 1024));
  const positions = await Promise.all(large.map((entry) => journal.append(entry)));
  expect((await read(journal, positions)).map(({ position }) => position)).toEqual(positions);
});
