/** Adds up Vitest's JSON reports: `node totals.mjs <report.json>…`. A tier without tests is named. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

const sum = { passed: 0, failed: 0, skipped: 0 };
for (const path of process.argv.slice(2)) {
  const report = JSON.parse(readFileSync(path, 'utf8'));
  const tier = {
    passed: report.numPassedTests,
    // A file that does not even load has no tests that could fail.
    failed: report.numFailedTests + report.testResults.filter(isBroken).length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
  for (const key of Object.keys(sum)) sum[key] += tier[key];
  print(basename(path, '.json'), tier);
}
print('all', sum);

function isBroken({ status, assertionResults }) {
  return status === 'failed' && assertionResults.length === 0;
}

function print(name, { passed, failed, skipped }) {
  const line = `${passed} passed, ${failed} failed, ${skipped} skipped`;
  process.stdout.write(`${name.padEnd(12)}${line}\n`);
}
