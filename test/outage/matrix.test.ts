/**
 * The fault matrix as tests, a few at a time: the outages are mostly waiting. Each row writes what it has
 * seen to the file that OUTAGE_RESULTS names, for `run.ts` to print.
 */
import { appendFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { runRow } from './harness/run-row.ts';
import { killAllWorkers } from './harness/worker-process.ts';
import { rows } from './rows/index.ts';

const isFull = process.env.OUTAGE_FULL === '1';
const results = process.env.OUTAGE_RESULTS;

afterAll(killAllWorkers);

describe.concurrent('nothing is lost, nothing runs twice, work goes on by itself', () => {
  for (const row of rows) {
    if (row.isFull && !isFull) continue;
    it(`${row.id} when: ${row.fault}, ${row.outageMs / 1000} s`, async () => {
      const result = await runRow(row, 'holdfast');
      if (results !== undefined) appendFileSync(results, `${JSON.stringify(result)}\n`);
      expect(result.problems).toEqual([]);
    });
  }
});
