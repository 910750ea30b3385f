/**
 * Jobs that ran from the journal come to Redis. One that still runs, or is to be tried again, is added and
 * taken for its run here in one step, active under our lock, so that nobody else takes it between the two;
 * recovery then finds what is ours. One that has ended is added with how it ended (`endedWork`).
 *
 * What it must never do: add a job twice, or one whose run was lost with its process.
 */
import type { Logger } from 'pino';
import type { JobEntry, Kept, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { AddWork } from './add-series.ts';
import { addCall } from './add-work.ts';
import { type Call, togetherArgs } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import { type IslandFields, mayHaveRunHere, runPlace } from './island-job.ts';
import { type StoredJob, storedJob } from './job-store.ts';
import type { HeldJob, Outcome, QueueLedger } from './ledger.ts';
import { BEGIN_KEYS } from './lua/begin.ts';
import { fencedReason } from './lua/fence.ts';
import { withoutFetch } from './policy.ts';

export interface IslandReturnDeps {
  journal: Pick<Journal, 'read'>;
  log: Logger;
  ledger(prefix: string, queue: string): QueueLedger;
  isOutage(error: unknown, generation: Generation): boolean;
}

/** Adds under way at once. */
const BATCH = 64;

/**
 * The entries at these places whose runs are known here; of others nothing is known but that they began.
 * @returns the places of those whose queues are left out
 * @throws what Redis says, for an outage only
 */
export async function bring(
  deps: IslandReturnDeps,
  generation: Generation,
  positions: readonly Position[],
  isLeftOut: (ledger: QueueLedger) => boolean,
): Promise<Set<Position>> {
  const leftOut = new Set<Position>();
  let batch: Promise<void>[] = [];
  for await (const entry of deps.journal.read(positions)) {
    if (entry.type !== 'job' || !mayHaveRunHere(entry)) continue;
    if (isLeftOut(deps.ledger(entry.prefix, entry.queue))) {
      leftOut.add(entry.position);
      continue;
    }
    const one = bringOne(deps, generation, entry);
    // Its failure is met when the batch is awaited; reading on may fail before that.
    one.catch(() => undefined);
    batch.push(one);
    if (batch.length < BATCH) continue;
    await Promise.all(batch);
    batch = [];
  }
  await Promise.all(batch);
  return leftOut;
}

async function bringOne(
  deps: IslandReturnDeps,
  generation: Generation,
  entry: Kept<JobEntry>,
): Promise<void> {
  const ledger = deps.ledger(entry.prefix, entry.queue);
  const held = ledger.held.get(entry.jobId) ?? ledger.unsettled.get(entry.jobId)?.job;
  if (held?.processedOn === undefined) return;
  const job = storedJob(entry);
  const number = { ...runPlace(job.place), before: 0 };
  try {
    await generation.script('together', togetherArgs(beginCalls(ledger, job, held), number));
  } catch (error) {
    // A request of an earlier try acted: Redis has the job.
    if (fencedReason(error) === 'number') return;
    if (!generation.alive || deps.isOutage(error, generation)) throw error;
    deps.log.error(
      { event: 'enqueue.delayed', queue: ledger.queue, err: error },
      'a job that ran from the journal could not be written to Redis',
    );
  }
}

/** A job that has ended: its add, its run, what the run wrote, and how it ended, as one. */
export function endedWork(ledger: QueueLedger, accepted: StoredJob, outcome: Outcome): AddWork {
  const { job, command, args } = outcome;
  const { data, progress, logs = [] } = job.notes ?? {};
  const calls = [
    ...beginCalls(ledger, accepted, job),
    ...(data ? [{ script: 'updateData', args: data }] : []),
    ...(progress ? [{ script: 'updateProgress', args: progress }] : []),
    ...logs.map((line) => ({ script: 'addLog', args: line })),
    { script: command, args: withoutFetch(command, args) },
  ];
  const send: AddWork['send'] = (generation, number) =>
    generation.script('together', togetherArgs(calls, number));
  // A rollback takes all of it or nothing: sent again, it is whole as well.
  const bytes = accepted.single!.job.data.length;
  return { jobId: accepted.jobId, bytes, send, sendAgain: send };
}

function beginCalls(ledger: QueueLedger, accepted: StoredJob, held: HeldJob): Call[] {
  const { job, parent } = accepted.single!;
  return [
    addCall(ledger, job, accepted.jobId, parent),
    {
      script: 'island-claim',
      args: [
        ...BEGIN_KEYS.map((type) => ledger.toKey(type)),
        ledger.toKey(''),
        held.id,
        held.token,
        held.timestamp,
        held.attemptsStarted,
        held.attemptsMade,
        held.lockMs,
        ...Object.entries(fieldsOf(held)).flat(),
      ],
    },
  ];
}

/** What its hash has of its run here, and of those before it. */
function fieldsOf({ processedOn, hash }: HeldJob): IslandFields {
  return { ...hash, ...(processedOn === undefined ? {} : { processedOn: String(processedOn) }) };
}
