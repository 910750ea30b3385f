/**
 * `npm run bench:journal`: how many jobs one process gets into the journal, by itself and by a client
 * whose Redis is away, beside bare SQLite group commits of rows of the same size on the same disk in the same
 * run; and how long it takes to take them out again. Each round measures all in processes of their own, in
 * alternating order; what is printed are medians.
 *
 * `--pairs 3 --seconds 4 --in-flight 1000 --args-bytes 300 --json --min-ratio 0.6 --min-rate 10000`
 * (exit 1 below). The files go to the folder of `--dir`, by default the system's for temporary files.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import type { JournalMeasurement } from './journal-measure.ts';

const SIDES = ['bare', 'journal', 'bareOfClient', 'client'] as const;
const MEASURE = fileURLToPath(new URL('./journal-measure.ts', import.meta.url));
const MEASUREMENT_MS_MAX = 120_000;

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    'in-flight': { type: 'string', default: '1000' },
    'args-bytes': { type: 'string', default: '300' },
    dir: { type: 'string', default: tmpdir() },
    'min-ratio': { type: 'string', default: '0' },
    'min-rate': { type: 'string', default: '0' },
    json: { type: 'boolean', default: false },
  },
});

type Pair = Record<(typeof SIDES)[number], JournalMeasurement>;

const pairs: Pair[] = [];
for (let n = 0; n < Number(values.pairs); n++) {
  const pair: Partial<Pair> = {};
  for (const side of n % 2 === 0 ? SIDES : [...SIDES].reverse()) pair[side] = await measure(side);
  pairs.push(pair as Pair);
}
const ratio = median(pairs.map(({ bare, journal }) => journal.rate / bare.rate));
const clientRatio = median(
  pairs.map(({ bareOfClient, client }) => client.rate / bareOfClient.rate),
);
const rate = median(pairs.map(({ journal, client }) => Math.min(journal.rate, client.rate)));
process.stdout.write(
  values.json ? `${JSON.stringify({ ratio, clientRatio, rate, pairs }, null, 2)}\n` : draw(pairs),
);
if (ratio < Number(values['min-ratio']) || rate < Number(values['min-rate'])) process.exitCode = 1;

async function measure(side: string): Promise<JournalMeasurement> {
  const dir = await mkdtemp(join(values.dir, 'holdfast-bench-'));
  try {
    const { seconds, 'in-flight': inFlight, 'args-bytes': argsBytes } = values;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--expose-gc', MEASURE, side, dir, seconds, inFlight, argsBytes],
      { timeout: MEASUREMENT_MS_MAX },
    );
    return JSON.parse(stdout);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function draw(all: readonly Pair[]): string {
  const row = (name: string, unit: string, of: (pair: Pair) => number) =>
    `${name.padEnd(58)}${Math.round(median(all.map(of)))
      .toLocaleString('en')
      .padStart(10)} ${unit}`;
  return `${[
    row('bare SQLite group commit', 'entries/s', ({ bare }) => bare.rate),
    row('journal', 'entries/s', ({ journal }) => journal.rate),
    `${'ratio'.padEnd(58)}${ratio.toFixed(2).padStart(10)}`,
    row(
      'bare SQLite, rows of what client.enqueue keeps',
      'jobs/s',
      (pair) => pair.bareOfClient.rate,
    ),
    row('client.enqueue while Redis is away', 'jobs/s', ({ client }) => client.rate),
    `${'ratio'.padEnd(58)}${clientRatio.toFixed(2).padStart(10)}`,
    row('client.enqueue, 99th of a hundred', 'µs', ({ client }) => client.p99Micros),
    row('append, median', 'µs', ({ journal }) => journal.p50Micros),
    row('append, 99th of a hundred', 'µs', ({ journal }) => journal.p99Micros),
    row('entries of a commit', '', ({ journal }) => journal.group),
    row('taking out 100,000 entries, 256 at a time', 'ms', ({ journal }) => journal.settleMs),
    row('taking out 100,000 entries at once', 'ms', ({ journal }) => journal.settleAtOnceMs),
    row(
      'memory after it all, beyond that of the empty journal',
      'MB',
      ({ journal }) => journal.grownMb,
    ),
  ].join('\n')}\n`;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
}
