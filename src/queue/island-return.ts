/**
 * Jobs that ran from the journal come to Redis: each is added and taken for its run here in one
 * transaction, active under our lock, so that nobody else takes it between the two. Recovery then finds
 * what is ours and writes the outcomes.
 *
 * What it must never do: add a job twice, or one whose run was lost with its process.
 */
import type { Logger } from 'pino';
import type { JobEntry, Kept, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import { addCall } from './add-work.ts';
import { numberedArgs, numberedName, queueScript, type Transaction } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import { mayHaveRunHere, runPlace } from './island-job.ts';
import { type AcceptedJob, storedJob } from './job-store.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';
import { BEGIN_KEYS } from './lua/begin.ts';
import { fencedReason } from './lua/fence.ts';

export interface IslandReturnDeps {
  journal: Pick<Journal, 'jobs'>;
  log: Logger;
  ledger(prefix: string, queue: string): QueueLedger;
  isOutage(error: unknown, generation: Generation): boolean;
}

/** Adds under way at once. */
const BATCH = 64;

/**
 * The entries at these positions of one queue; reads no further than the last of them.
 * @throws what Redis says, for an outage only
 */
export async function bring(
  deps: IslandReturnDeps,
  generation: Generation,
  queue: string,
  positions: ReadonlySet<Position>,
): Promise<void> {
  let first = Number.MAX_SAFE_INTEGER;
  for (const position of positions) first = Math.min(first, position);
  let left = positions.size;
  await inBatches(deps, generation, entriesOf());

  async function* entriesOf(): AsyncGenerator<Kept<JobEntry>> {
    for await (const entry of deps.journal.jobs(queue, first - 1)) {
      if (!positions.has(entry.position)) continue;
      yield entry;
      left -= 1;
      if (left === 0) return;
    }
  }
}

/** Every entry that was begun by an earlier life of this process, or by a replica that is dead. */
export async function bringFound(deps: IslandReturnDeps, generation: Generation): Promise<void> {
  await inBatches(deps, generation, deps.journal.jobs());
}

async function inBatches(
  deps: IslandReturnDeps,
  generation: Generation,
  entries: AsyncIterable<Kept<JobEntry>>,
): Promise<void> {
  let batch: Promise<void>[] = [];
  for await (const entry of entries) {
    if (!mayHaveRunHere(entry)) continue;
    const one = bringOne(deps, generation, entry);
    // Its failure is met when the batch is awaited; reading on may fail before that.
    one.catch(() => undefined);
    batch.push(one);
    if (batch.length < BATCH) continue;
    await Promise.all(batch);
    batch = [];
  }
  await Promise.all(batch);
}

async function bringOne(
  deps: IslandReturnDeps,
  generation: Generation,
  entry: Kept<JobEntry>,
): Promise<void> {
  const ledger = deps.ledger(entry.prefix, entry.queue);
  const held = ledger.held.get(entry.jobId) ?? ledger.unsettled.get(entry.jobId)?.job;
  // Begun by a process that died before the end: it goes to Redis like any other.
  if (held?.processedOn === undefined) return;
  const job = storedJob(entry);
  const { key } = runPlace(job.place);
  try {
    if ((await generation.client.get(key)) === null) {
      await add(generation, ledger, job, key, held);
    }
  } catch (error) {
    // A request of an earlier try acted between the two: Redis has the job.
    if (fencedReason(error) === 'number') return;
    if (!generation.alive || deps.isOutage(error, generation)) throw error;
    deps.log.error(
      { event: 'enqueue.delayed', queue: ledger.queue, err: error },
      'a job that ran from the journal could not be written to Redis',
    );
  }
}

/** As the first and only one of the series `key`. */
async function add(
  generation: Generation,
  ledger: QueueLedger,
  accepted: AcceptedJob,
  key: string,
  held: HeldJob,
): Promise<void> {
  const { job, parent } = accepted.single!;
  const { script, args } = addCall(ledger, job, accepted.jobId, parent);
  const multi = generation.client.multi() as Transaction;
  const number = { key, before: 0, number: 1 };
  queueScript(multi, numberedName(script)!, numberedArgs(script, args, number));
  queueScript(multi, 'island-claim', [
    ...BEGIN_KEYS.map((type) => ledger.toKey(type)),
    ledger.toKey(''),
    held.id,
    held.token,
    held.timestamp,
    held.attemptsStarted,
    held.attemptsMade,
    held.lockMs,
    held.processedOn ?? 0,
  ]);
  for (const [error] of await multi.exec()) if (error) throw error;
}
