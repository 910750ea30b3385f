/**
 * `npm run bench:producer`: what the journal costs and gives. `--only replay`: jobs that were accepted
 * while Redis was away, replayed while live ones come, beside plain `addBulk` into the same server in
 * the same run. `--only memory --minutes 10 --rate 1000 --calm 4`: memory of a producer through a long
 * outage, beyond that of as many minutes of calm weather before.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { getHeapSpaceStatistics } from 'node:v8';
import { Queue } from 'bullmq';
import pino from 'pino';
import { createClient } from '../src/create-client.ts';
import type { Client } from '../src/queue/client.ts';
import { type RedisServer, startRedis, stopAllRedis } from '../test/support/redis-server.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    jobs: { type: 'string', default: '100000' },
    minutes: { type: 'string', default: '10' },
    calm: { type: 'string', default: '4' },
    rate: { type: 'string', default: '1000' },
  },
});
/** `addBulk` and enqueues into the journal are done this many at a time. */
const BULK = 1000;
const MIB = 1024 * 1024;
/** Live jobs while the replay runs, one each so many ms. */
const LIVE_MS = 10;

const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
const server = await startRedis();
const client = await createClient({
  redis: server.url,
  journal: folder,
  settings: { JOURNAL_ENTRIES_MAX: '2000000', JOURNAL_BYTES_MAX: '2G' },
  log: pino({ level: 'error' }, pino.destination(2)),
});
try {
  if (values.only !== 'memory') await replay(Number(values.jobs));
  if (values.only !== 'replay') await memory(Number(values.minutes), Number(values.rate));
} finally {
  await client.close();
  await stopAllRedis();
  rmSync(folder, { recursive: true, force: true });
}
process.exit();

async function replay(jobs: number): Promise<void> {
  const plain = new Queue('plain', { connection: { url: server.url } });
  await plain.waitUntilReady();
  const bulkRate = await rateOf(jobs, async (from, count) => {
    await plain.addBulk(jobsOf(from, count));
  });
  await plain.close();
  await away(server, client);
  const acceptRate = await rateOf(jobs, async (from, count) => {
    await client.enqueueMany('kept', jobsOf(from, count));
  });
  const rssBefore = process.memoryUsage().rss;
  let rssMost = rssBefore;
  await server.restart();
  const began = performance.now();
  let live = 0;
  let waiting = 0;
  while (waiting < jobs + live) {
    await client.enqueue('kept', 'live', { n: live++ });
    if (live % 20 === 0) {
      rssMost = Math.max(rssMost, process.memoryUsage().rss);
      waiting = await client.counts('kept').then(
        (counts) => counts.waiting ?? 0,
        () => 0,
      );
    }
    await sleep(LIVE_MS);
  }
  const replayRate = (jobs + live) / ((performance.now() - began) / 1000);
  say('addBulk, plain BullMQ', `${Math.round(bulkRate)} jobs/s`);
  say('accepted into the journal', `${Math.round(acceptRate)} jobs/s`);
  say('replayed, with live traffic', `${Math.round(replayRate)} jobs/s`);
  say('ratio of replay to addBulk', (replayRate / bulkRate).toFixed(2));
  say('memory during the replay', `+${((rssMost - rssBefore) / MIB).toFixed(0)} MiB`);
}

async function memory(minutes: number, rate: number): Promise<void> {
  // The same work in calm weather first: what a heap grows to under load is not the outage's doing.
  // Most is compared with most, since V8 gives tens of MiB back and takes them again as it likes. By itself
  // it doubles the young generation of a busy heap within minutes, to 96 MiB: the npm script bounds that.
  const before = await mostOf('calm', Number(values.calm), rate);
  say('live heap', liveHeap());
  await away(server, client);
  const most = await mostOf('outage', minutes, rate);
  const more = ((most - before) / MIB).toFixed(1);
  say(`more in an outage of ${minutes} min at ${rate} jobs/s`, `${more} MiB`);
  say('live heap', liveHeap());
}

/** @returns the most resident memory, bytes */
async function mostOf(weather: string, minutes: number, rate: number): Promise<number> {
  let most = 0;
  for (let minute = 1; minute <= minutes; minute += 1) {
    const rss = await enqueueFor(60_000, rate);
    most = Math.max(most, rss);
    say(`${weather}, minute ${minute}, at most`, `RSS ${(rss / MIB).toFixed(0)} MiB (${spaces()})`);
  }
  return most;
}

/** What V8 has taken for the heap of this thread. */
function spaces(): string {
  const sizes = getHeapSpaceStatistics().map(({ space_name: name, space_size: bytes }) => ({
    name,
    mib: Math.round(bytes / MIB),
  }));
  return sizes.flatMap(({ name, mib }) => (mib > 0 ? [`${name} ${mib}`] : [])).join(', ');
}

/** What is left of the heap after a collection, where node was started with --expose-gc. */
function liveHeap(): string {
  if (!globalThis.gc) return 'not known without --expose-gc';
  globalThis.gc();
  return `${(process.memoryUsage().heapUsed / MIB).toFixed(1)} MiB`;
}

/** Evenly, as callers would. @returns the most resident memory meanwhile, bytes */
async function enqueueFor(ms: number, rate: number): Promise<number> {
  const began = performance.now();
  let rssMost = 0;
  let done = 0;
  for (let now = began; now - began < ms; now = performance.now()) {
    const due = Math.floor(((now - began) / 1000) * rate) - done;
    await Promise.all(
      Array.from({ length: due }, (_, i) => client.enqueue('memory', 'x', { n: done + i })),
    );
    done += due;
    rssMost = Math.max(rssMost, process.memoryUsage.rss());
    await sleep(5);
  }
  return rssMost;
}

async function away(redis: RedisServer, producer: Client): Promise<void> {
  await redis.kill();
  while ((await producer.enqueue('probe', 'x', {})).stored !== 'journal') await sleep(10);
}

function jobsOf(from: number, count: number): { name: string; data: unknown }[] {
  return Array.from({ length: count }, (_, i) => ({ name: 'x', data: { n: from + i } }));
}

async function rateOf(
  jobs: number,
  add: (from: number, count: number) => Promise<void>,
): Promise<number> {
  const began = performance.now();
  for (let from = 0; from < jobs; from += BULK) await add(from, Math.min(BULK, jobs - from));
  return jobs / ((performance.now() - began) / 1000);
}

function say(what: string, value: string): void {
  process.stdout.write(`${what.padEnd(44)} ${value}\n`);
}
