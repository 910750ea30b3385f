/**
 * One row of each group of the fault matrix, with the outage as short as its fault allows: the first
 * place where a broken promise shows. All rows, at their own lengths: `npm run test:outage`.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { runRow } from '../outage/harness/run-row.ts';
import { killAllWorkers } from '../outage/harness/worker-process.ts';
import { rows } from '../outage/rows/index.ts';

/** How fast it is, is measured where nothing else runs. */
const ANY_TIME = { detectMs: 60_000, firstJobMs: 60_000 };
/** A row takes its outage, and up to half a minute for what must come afterwards. */
const ROW_MS_MAX = 120_000;

afterAll(killAllWorkers);

describe.concurrent('nothing is lost, nothing runs twice, work goes on by itself', () => {
  // The longest first.
  for (const row of rows.filter(({ brief }) => brief).toReversed()) {
    const expected = { ...row.expect, ...ANY_TIME };
    it(`${row.id} when: ${row.fault}`, { timeout: ROW_MS_MAX }, async () => {
      const { problems } = await runRow({ ...row, ...row.brief, expect: expected }, 'holdfast');
      expect(problems).toEqual([]);
    });
  }
});
