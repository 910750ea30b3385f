/** Adds up Vitest's JSON reports: `node totals.mjs <report.json>…`. A tier without tests is named. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

const sum = { passed: 0, failed: 0, skipped: 0 };
for (const path of process.argv.slice(2)) {
  const report = JSON.parse(readFileSync(path, 'utf8'));
  const tier = {
    passed: report.numPassedTests,
    failed: report.numFailedTests,
    skipped: report.numPendingTests + report.numTodoTests,
  };
  for (const key of Object.keys(sum)) sum[key] += tier[key];
  print(basename(path, '.json'), tier);
}
print('all', sum);

function print(name, { passed, failed, skipped }) {
  const line = `${passed} passed, ${failed} failed, ${skipped} skipped`;
  process.stdout.write(`${name.padEnd(12)}${line}\n`);
}
