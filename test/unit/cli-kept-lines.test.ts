import { describe, expect, it } from 'vitest';
import { jobsAreKept, KeptLines } from '../../src/cli/kept-lines.ts';

/** Jobs of these lines; each has its line for its id. */
const batch = (...lines: number[]) => lines.map((line) => ({ line, id: `id-${line}` }));
const ids = (...lines: number[]) => new Set(lines.map((line) => `id-${line}`));

function keptLines(): KeptLines {
  const kept = new KeptLines('a.ndjson', 'mail');
  kept.keep(batch(1, 2, 4));
  return kept;
}

describe('what is kept of an input', () => {
  it('is told up to its line, and where to go on', () => {
    expect(`${new KeptLines('stdin', 'mail')}`).toBe(
      '0 jobs are kept, up to line 0 of stdin; nothing else. Go on with: tail -n +1',
    );
    expect(`${keptLines()}`).toBe(
      '3 jobs are kept, up to line 4 of a.ndjson; nothing else. Go on with: tail -n +5',
    );
    expect(jobsAreKept(1)).toBe('1 job is kept');
  });

  it('is told line by line when memory ended in the middle', () => {
    const kept = keptLines();
    kept.keepPart(batch(5, 6, 7, 8, 10, 11), ids(5, 7, 8, 11), ids());
    expect(`${kept}`).toBe(
      "7 jobs are kept, up to line 5 of a.ndjson, and of those after it lines 7 to 8, 11; nothing else. Go on with: sed -n '6,6p;9,10p;12,$p'",
    );
  });

  it('is told with the ids of those of which nobody knows', () => {
    const kept = keptLines();
    kept.keepPart(batch(5, 6, 7, 8), ids(5), ids(6, 7, 8));
    expect(`${kept}`.split('\n')).toEqual([
      '4 jobs are kept, up to line 5 of a.ndjson; of lines 6 to 8 it is not known. Go on with: tail -n +9',
      'What is not known is not added twice under its id, while Redis has it: sed -n 6p | holdfast enqueue mail - --job-id id-6',
      '  line 6  --job-id id-6',
      '  line 7  --job-id id-7',
      '  line 8  --job-id id-8',
    ]);
  });

  it('counts a batch of which all turned out to be kept', () => {
    const kept = keptLines();
    kept.keepPart(batch(5, 6), ids(5, 6), ids());
    expect(`${kept}`).toMatch(/^5 jobs are kept, up to line 6 .*tail -n \+7$/);
  });
});
