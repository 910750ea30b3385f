/**
 * `npm run bench`: Holdfast beside plain BullMQ in calm weather, on the same redis-server, at the
 * same concurrency, in turn. A pair is two processes, warm, that take turns of a second or so, first
 * the one and then the other: a machine that grows slower or faster favours neither. What is printed
 * are medians over the pairs.
 *
 * `--pairs 5 --jobs 120000 --concurrency 50 --in-flight 100 --json --min-ratio 0.95` (exit 1 below).
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type RedisServer, startRedis, stopAllRedis } from '../test/support/redis-server.ts';
import { KINDS, type Kind, type Measurement } from './measure.ts';
import { SYSTEM_NAMES, type SystemName } from './systems.ts';

/** Ten times what the slowest machine that we know needs. */
const TURN_MS_MAX = 60_000;
/** Turns of each system in a pair, which share its jobs. */
const TURNS = 6;
/**
 * Turns of each before the clock starts: a service runs for days, so what is compared is compiled code
 * with grown buffers, on both sides.
 */
const WARM_UP_TURNS = 3;
const MEASURE = fileURLToPath(new URL('./measure.ts', import.meta.url));

/** Jobs per second of wall time, and CPU time of the measured process per job, µs. */
interface Speed {
  rate: number;
  cpuMicros: number;
}
type Pair = Record<SystemName, Speed>;

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
    jobs: { type: 'string', default: '120000' },
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
    const pair = await measurePair(redis, kind);
    measured.push(pair);
    say(`${kind} ${i + 1}/${pairs}: ${drawPair(pair)}`);
  }
  const medianOf = (name: SystemName): Speed => ({
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

async function measurePair(redis: RedisServer, kind: Kind): Promise<Pair> {
  const jobsPerTurn = Math.ceil(jobs / TURNS);
  const open = (name: SystemName): ChildProcess =>
    fork(MEASURE, [name, kind, redis.url, `${concurrencyOf[kind]}`]);
  const children = { plain: open('plain'), holdfast: open('holdfast') };
  const sums = { plain: { seconds: 0, cpuMicros: 0 }, holdfast: { seconds: 0, cpuMicros: 0 } };
  for (let turn = -WARM_UP_TURNS; turn < TURNS; turn++) {
    for (const name of turn % 2 === 0 ? SYSTEM_NAMES : SYSTEM_NAMES.toReversed()) {
      const { seconds, cpuMicros } = await takeTurn(children[name], jobsPerTurn);
      if (turn < 0) continue;
      sums[name].seconds += seconds;
      sums[name].cpuMicros += cpuMicros;
    }
  }
  const speed = ({ seconds, cpuMicros }: Measurement): Speed => ({
    rate: (jobsPerTurn * TURNS) / seconds,
    cpuMicros: cpuMicros / (jobsPerTurn * TURNS),
  });
  await Promise.all(Object.values(children).map(end));
  return { plain: speed(sums.plain), holdfast: speed(sums.holdfast) };
}

async function takeTurn(child: ChildProcess, count: number): Promise<Measurement> {
  child.send(count);
  const [measured] = await once(child, 'message', { signal: AbortSignal.timeout(TURN_MS_MAX) });
  return measured as Measurement;
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.disconnect();
  await ended;
}

function draw(all: readonly Result[]): string {
  const lines = all.map(({ kind, concurrency, median: middle, ratio }) => {
    const how = kind === 'drain' ? `concurrency ${concurrency}` : `${concurrency} in flight`;
    return `${kind.padEnd(7)} ${drawPair(middle)}   ratio ${ratio.toFixed(3)}   (${how})`;
  });
  return `Medians of ${pairs} pairs, ${jobs} jobs each:\n${lines.join('\n')}\n`;
}

function drawPair({ plain, holdfast }: Pair): string {
  const one = ({ rate, cpuMicros }: Speed): string =>
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
