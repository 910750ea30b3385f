/**
 * One row of each group of the fault matrix, with the outage as short as its fault allows: the first
 * place where a broken promise shows. All rows, at their own lengths: `npm run test:outage`.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { runRow } from '../outage/harness/run-row.ts';
import { killAllWorkers } from '../outage/harness/worker-process.ts';
import { rows } from '../outage/rows/index.ts';

/** Row and length of its outage, ms; those that wait for locks to pass are the longest. */
const CHOSEN: readonly [id: string, outageMs?: number][] = [
  ['12.1'],
  ['13.1', 4000],
  ['11.1'],
  ['7.1'],
  ['8.1'],
  ['10.1', 2000],
  ['9.1', 3000],
  ['2.1', 4000],
  ['1.1'],
  ['3.1', 2000],
  ['4.2', 2000],
  ['5.4', 2000],
  ['6.1'],
];
/** How fast it is, is measured where nothing else runs. */
const ANY_TIME = { detectMs: 60_000, firstJobMs: 60_000 };
/** A row takes its outage, and up to half a minute for what must come afterwards. */
const ROW_MS_MAX = 120_000;

afterAll(killAllWorkers);

describe.concurrent('nothing is lost, nothing runs twice, work goes on by itself', () => {
  for (const [id, outageMs] of CHOSEN) {
    const row = rows.find((one) => one.id === id)!;
    it(`${id} when: ${row.fault}`, { timeout: ROW_MS_MAX }, async () => {
      const { problems } = await runRow(
        { ...row, outageMs: outageMs ?? row.outageMs, expect: { ...row.expect, ...ANY_TIME } },
        'holdfast',
      );
      expect(problems).toEqual([]);
    });
  }
});
