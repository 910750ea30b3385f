/**
 * Runs the fault matrix and prints a line for each row as it ends: `npm run test:outage`. With `--full`
 * the long rows too, at BullMQ's own times; with `--record` the table goes to docs/outage-matrix.md.
 * Everything else is passed on to Vitest.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchFaketime } from './faults/host-clock.ts';
import { installStrace } from './faults/strace.ts';
import { formatRow, markdown, tableHead } from './harness/report.ts';
import type { RowResult } from './harness/row.ts';

/** Rows at the same time; each is two workers and a server that mostly wait. */
const ROWS_AT_ONCE = 2;
const LOOK_EVERY_MS = 500;

const own = ['--full', '--record'];
const args = process.argv.slice(2);
const isFull = args.includes('--full');
const root = fileURLToPath(new URL('../..', import.meta.url));
const results = join(root, '.cache', 'outage', 'results.jsonl');

mkdirSync(dirname(results), { recursive: true });
rmSync(results, { force: true });
let printed = 0;

function read(): RowResult[] {
  return readFileSync(results, { encoding: 'utf8', flag: 'a+' })
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as RowResult);
}

function printNew(): void {
  const all = read();
  for (const row of all.slice(printed)) {
    process.stdout.write(`${formatRow(row)}\n`);
    for (const line of [...row.problems, ...row.log]) process.stdout.write(`       ${line}\n`);
  }
  printed = all.length;
}

fetchFaketime();
installStrace();
process.stdout.write(`${tableHead}\n`);
const vitest = spawn(
  process.execPath,
  [
    join(root, 'node_modules', 'vitest', 'vitest.mjs'),
    ...['run', '--project', 'outage', `--maxConcurrency=${ROWS_AT_ONCE}`],
    ...args.filter((arg) => !own.includes(arg)),
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, OUTAGE_RESULTS: results, OUTAGE_FULL: isFull ? '1' : '0' },
  },
);
const printing = setInterval(printNew, LOOK_EVERY_MS);
vitest.on('exit', (code, signal) => {
  clearInterval(printing);
  printNew();
  if (args.includes('--record')) record(read());
  process.exitCode = code ?? (signal === null ? 0 : 1);
});

function record(rows: RowResult[]): void {
  const ordered = rows.sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }));
  const notes = ordered.flatMap(({ id, shortened }) =>
    shortened ? [`- ${id}: ${shortened}.`] : [],
  );
  writeFileSync(
    join(root, 'docs', 'outage-matrix.md'),
    [
      '# The outage matrix',
      '',
      `What \`npm run test:outage --${isFull ? ' --full' : ''} --record\` saw on ${new Date().toISOString().slice(0, 10)}`,
      `(Node ${process.versions.node}, Linux ${release()}, ${cpus().length} CPUs; real redis-servers, two`,
      'worker processes of 10 slots). "lines" are lines about the outage in the worst minute of one',
      'replica; "detect" and "first job" are of the slower worker and the first job of both. "detect" is when the',
      'line that opens the outage was written, which waits for what the first probe finds.',
      '',
      markdown(ordered),
      '',
      ...(notes.length > 0 ? ['Shortened by configuration:', '', ...notes, ''] : []),
    ].join('\n'),
  );
}
