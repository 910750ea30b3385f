/**
 * `npm run bench`: Holdfast beside plain BullMQ in calm weather, on the same redis-server, at the
 * same concurrency, in turn. Each pair measures both, in alternating order, so that a machine that
 * grows slower or faster favours neither; what is printed are medians.
 *
 * `--pairs 5 --jobs 60000 --concurrency 50 --in-flight 100 --json --min-ratio 0.95` (exit 1 below).
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { type RedisServer, startRedis, stopAllRedis } from '../test/support/redis-server.ts';
import { KINDS, type Kind, type Measurement } from './measure.ts';
import { SYSTEM_NAMES, type SystemName } from './systems.ts';

/** Ten times what the slowest machine that we know needs. */
const MEASUREMENT_MS_MAX = 180_000;
const MEASURE = fileURLToPath(new URL('./measure.ts', import.meta.url));

type Pair = Record<SystemName, Measurement>;

interface Result {
  kind: Kind;
  jobs: number;
  concurrency: number;
  pairs: Pair[];
  median: Pair;
  /** Median over the pairs of Holdfast's rate divided by plain BullMQ's. */
  ratio: number;
}

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '5' },
    jobs: { type: 'string', default: '60000' },
    concurrency: { type: 'string', default: '50' },
    'in-flight': { type: 'string', default: '100' },
    'min-ratio': { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const pairs = positive('pairs', values.pairs);
const jobs = positive('jobs', values.jobs);
const concurrencyOf: Record<Kind, number> = {
  drain: positive('concurrency', values.concurrency),
  enqueue: positive('in-flight', values['in-flight']),
};

const results: Result[] = [];
const server = await startRedis();
try {
  for (const kind of KINDS) results.push(await compare(server, kind));
} finally {
  await stopAllRedis();
}
process.stdout.write(values.json ? `${JSON.stringify(results, null, 2)}\n` : draw(results));
const minRatio = Number(values['min-ratio'] ?? 0);
if (results.some(({ ratio }) => ratio < minRatio)) process.exitCode = 1;

async function compare(redis: RedisServer, kind: Kind): Promise<Result> {
  const concurrency = concurrencyOf[kind];
  const measured: Pair[] = [];
  for (let i = 0; i < pairs; i++) {
    const order = i % 2 === 0 ? SYSTEM_NAMES : SYSTEM_NAMES.toReversed();
    const pair: Partial<Pair> = {};
    for (const name of order) {
      await redis.command('FLUSHALL');
      pair[name] = await measure([name, kind, redis.url, `${jobs}`, `${concurrency}`]);
    }
    measured.push(pair as Pair);
    say(`${kind} ${i + 1}/${pairs}: ${drawPair(pair as Pair)}`);
  }
  const medianOf = (name: SystemName): Measurement => ({
    rate: median(measured.map((pair) => pair[name].rate)),
    cpuMicros: median(measured.map((pair) => pair[name].cpuMicros)),
  });
  return {
    kind,
    jobs,
    concurrency,
    pairs: measured,
    median: { plain: medianOf('plain'), holdfast: medianOf('holdfast') },
    ratio: median(measured.map(({ plain, holdfast }) => holdfast.rate / plain.rate)),
  };
}

async function measure(args: string[]): Promise<Measurement> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [MEASURE, ...args], {
    timeout: MEASUREMENT_MS_MAX,
    killSignal: 'SIGKILL',
  });
  if (stderr !== '') process.stderr.write(stderr);
  return JSON.parse(stdout) as Measurement;
}

function draw(all: readonly Result[]): string {
  const lines = all.map(({ kind, concurrency, median: middle, ratio }) => {
    const how = kind === 'drain' ? `concurrency ${concurrency}` : `${concurrency} in flight`;
    return `${kind.padEnd(7)} ${drawPair(middle)}   ratio ${ratio.toFixed(3)}   (${how})`;
  });
  return `Medians of ${pairs} pairs, ${jobs} jobs each:\n${lines.join('\n')}\n`;
}

function drawPair({ plain, holdfast }: Pair): string {
  const one = ({ rate, cpuMicros }: Measurement): string =>
    `${Math.round(rate)} jobs/s, ${Math.round(cpuMicros)} µs CPU`;
  return `plain ${one(plain)} · holdfast ${one(holdfast)}`;
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Error(`--${name}: not a whole number from 1`);
  return value;
}
