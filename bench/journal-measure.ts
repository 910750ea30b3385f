/**
 * One measurement of `bench/journal.ts` in a process of its own; prints one line of JSON. Arguments:
 * side, folder, seconds, appends under way at a time, bytes of an entry's arguments.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import pino from 'pino';
import { createClient } from '../src/create-client.ts';
import { type JobEntry, type Journal, openJournal, type Position } from '../src/journal/journal.ts';
import type { Client } from '../src/queue/client.ts';
import { systemClock } from '../src/time.ts';

export interface JournalMeasurement {
  /** Entries on disk per second. */
  rate: number;
  p50Micros: number;
  p99Micros: number;
  /** Mean of entries that shared a commit. */
  group: number;
  settleMs: number;
  settleAtOnceMs: number;
  /** Resident memory at the end beyond that at the start, MB. */
  grownMb: number;
}

const NOTHING: JournalMeasurement = {
  rate: 0,
  p50Micros: 0,
  p99Micros: 0,
  group: 0,
  settleMs: 0,
  settleAtOnceMs: 0,
  grownMb: 0,
};

const [side, dir = '', secondsText, inFlightText, argsBytesText] = process.argv.slice(2);
const seconds = Number(secondsText);
const inFlight = Number(inFlightText);
/** Nothing listens there. */
const REDIS_AWAY = 'redis://127.0.0.1:1';
/** Made once: it is the app's, and not what is measured. */
const PAD = 'x'.repeat(Number(argsBytesText));
const SETTLED = 100_000;
const SETTLE_BATCH = 256;

function entry(number: number, args = JSON.stringify(dataOf(number))): JobEntry {
  return {
    type: 'job',
    queue: 'mail',
    prefix: 'bull',
    jobId: `01890a5d-ac96-774b-bcce-${String(number).padStart(12, '0')}`,
    name: 'send',
    mark: 'unsent',
    args,
    at: Date.now(),
  };
}

function dataOf(number: number): object {
  return { number, pad: PAD };
}

/** What SQLite does by itself: one table, one insert per entry, `inFlight` entries a transaction. */
function bare(rowOf: (number: number) => JobEntry = (number) => entry(number)): JournalMeasurement {
  const db = new DatabaseSync(join(dir, 'bare.db'));
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  db.exec('CREATE TABLE entry (position INTEGER PRIMARY KEY, entry TEXT NOT NULL)');
  const insert = db.prepare('INSERT INTO entry (entry) VALUES (?)');
  let count = 0;
  const startedAt = performance.now();
  const endAt = startedAt + seconds * 1000;
  while (performance.now() < endAt) {
    db.exec('BEGIN');
    for (let i = 0; i < inFlight; i++) insert.run(JSON.stringify(rowOf(count++)));
    db.exec('COMMIT');
  }
  const rate = count / ((performance.now() - startedAt) / 1000);
  db.close();
  return { ...NOTHING, rate, group: inFlight };
}

function openBenchJournal(at: string): Promise<Journal> {
  return openJournal({
    dir: at,
    replica: 'bench',
    mode: 'disk',
    bytesMax: 4e9,
    entriesMax: 1e7,
    clock: systemClock,
    log: { warn: () => {}, error: () => {} },
  });
}

function clientWithoutRedis(journal: string, name?: string): Promise<Client> {
  return createClient({
    redis: REDIS_AWAY,
    journal,
    ...(name === undefined ? {} : { name }),
    settings: { JOURNAL_ENTRIES_MAX: '10000000', JOURNAL_BYTES_MAX: '4G' },
    log: pino({ level: 'silent' }),
  });
}

async function journaled(): Promise<JournalMeasurement> {
  const journal = await openBenchJournal(dir);
  const before = resident();
  const tookMicros: number[] = [];
  let count = 0;
  let waves = 0;
  const startedAt = performance.now();
  const endAt = startedAt + seconds * 1000;
  let lastTurn = -1;
  const producer = async () => {
    while (performance.now() < endAt) {
      const at = performance.now();
      await journal.append(entry(count++));
      const now = performance.now();
      tookMicros.push((now - at) * 1000);
      if (journal.stats().commitMs !== lastTurn) {
        lastTurn = journal.stats().commitMs ?? -1;
        waves++;
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, producer));
  const rate = count / ((performance.now() - startedAt) / 1000);
  await settleAll(journal, count);
  const settleMs = await fillAndSettle(journal, SETTLE_BATCH);
  const settleAtOnceMs = await fillAndSettle(journal, SETTLED);
  const result: JournalMeasurement = {
    rate,
    ...percentilesOf(tookMicros),
    group: count / waves,
    settleMs,
    settleAtOnceMs,
    grownMb: 0,
  };
  tookMicros.length = 0;
  result.grownMb = (resident() - before) / 1024 / 1024;
  await journal.close();
  return result;
}

/** The same with rows of the size that `client.enqueue` writes: BullMQ's record of the job, as it is kept. */
async function bareOfClient(): Promise<JournalMeasurement> {
  const client = await clientWithoutRedis(join(dir, 'client'), 'bench');
  await client.enqueue('mail', 'send', dataOf(0));
  await client.close();
  const journal = await openBenchJournal(join(dir, 'client'));
  const args: string[] = [];
  for await (const job of journal.jobs()) args.push(job.args);
  await journal.close();
  return bare((number) => entry(number, args[0]));
}

/** What an app sees: `client.enqueue` of jobs one by one while Redis is away, each with its own id. */
async function enqueued(): Promise<JournalMeasurement> {
  const client = await clientWithoutRedis(dir);
  // Accepted when the first try to connect has failed.
  await client.enqueue('mail', 'send', {});
  const tookMicros: number[] = [];
  let count = 0;
  const startedAt = performance.now();
  const endAt = startedAt + seconds * 1000;
  const producer = async () => {
    for (let at = startedAt; at < endAt; ) {
      const { stored } = await client.enqueue('mail', 'send', dataOf(count++));
      if (stored !== 'journal') throw new Error(`stored in ${stored}`);
      const now = performance.now();
      tookMicros.push((now - at) * 1000);
      at = now;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, producer));
  const rate = count / ((performance.now() - startedAt) / 1000);
  const { jobs } = await client.close();
  if (jobs !== count + 1) throw new Error('the journal has not what it took');
  return { ...NOTHING, ...percentilesOf(tookMicros), rate };
}

function percentilesOf(tookMicros: number[]): { p50Micros: number; p99Micros: number } {
  tookMicros.sort((a, b) => a - b);
  return {
    p50Micros: tookMicros[Math.floor(tookMicros.length * 0.5)]!,
    p99Micros: tookMicros[Math.floor(tookMicros.length * 0.99)]!,
  };
}

async function settleAll(journal: Journal, count: number): Promise<void> {
  let settled = 0;
  let batch: Position[] = [];
  for await (const { position } of journal.jobs()) {
    batch.push(position);
    if (batch.length < SETTLED) continue;
    await journal.settle(batch);
    settled += batch.length;
    batch = [];
  }
  await journal.settle(batch);
  if (settled + batch.length !== count) throw new Error('the journal has not what it took');
}

/** Time of the taking out only. */
async function fillAndSettle(journal: Journal, batch: number): Promise<number> {
  const positions = await Promise.all(
    Array.from({ length: SETTLED }, (_, n) => journal.append(entry(n))),
  );
  const startedAt = performance.now();
  for (let from = 0; from < positions.length; from += batch) {
    await journal.settle(positions.slice(from, from + batch));
  }
  return performance.now() - startedAt;
}

function resident(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

const sides: Record<string, () => JournalMeasurement | Promise<JournalMeasurement>> = {
  bare,
  bareOfClient,
  journal: journaled,
  client: enqueued,
};

process.stdout.write(`${JSON.stringify(await sides[side!]!())}\n`);
