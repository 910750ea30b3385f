/**
 * Which journaled jobs may run without Redis, and how they look to BullMQ. Pure.
 */
import { unpack } from 'msgpackr';
import type { JobEntry, Kept } from '../journal/entry.ts';
import { addCall } from './add-work.ts';
import { keyCount } from './fenced-scripts.ts';
import { type Place, storedJob } from './job-store.ts';
import type { Notes, QueueLedger } from './ledger.ts';
import type { Settlement } from './target-core.ts';

/** A job's hash as Redis would have it. */
export type IslandFields = Record<string, string>;

/** A job that may run from the journal. */
export interface IslandJob {
  fields: IslandFields;
  /** Of a delayed job: when it is to run, ms since the epoch. */
  dueAt: number | undefined;
}

const SCRIPTS: ReadonlySet<string> = new Set([
  'addStandardJob',
  'addPrioritizedJob',
  'addDelayedJob',
]);

const OWN_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/**
 * Undefined for a job that waits for Redis: a flow or a part of one, a scheduled job, one with
 * deduplication, and one with an id of its caller's, which Redis may have already.
 */
export function islandJob(ledger: QueueLedger, entry: Kept<JobEntry>): IslandJob | undefined {
  const { single, jobId } = storedJob(entry);
  if (!single || !OWN_ID.test(jobId)) return undefined;
  const { job, parent } = single;
  if (parent?.parentDependenciesKey || job.parentKey || job.parent) return undefined;
  const { script, args } = addCall(ledger, job, jobId, parent);
  if (!SCRIPTS.has(script)) return undefined;
  const at = keyCount(script);
  const opts = unpack(args[at + 2] as Buffer) as Record<string, unknown>;
  if (opts.de || opts.deduplication || opts.debounce || opts.repeat) return undefined;
  const fields = {
    name: job.name,
    data: String(args[at + 1]),
    opts: JSON.stringify(opts),
    timestamp: String(job.timestamp),
    // As BullMQ leaves it when a job's time has come.
    delay: '0',
    priority: String(opts.priority ?? 0),
  };
  const isDelayed = script === 'addDelayedJob';
  return { fields, dueAt: isDelayed ? job.timestamp + Number(opts.delay) : undefined };
}

/**
 * The number of an entry that runs, or ran, from the journal: a series of its own, since it may reach
 * Redis before entries that stand in front of it.
 */
export function runPlace({ key, number }: Place): Place {
  return { key: `${key}:${number}`, number: 1 };
}

/** Whether a job ran from the journal, as far as its entry tells: that of damaged files cannot rule it out. */
export function mayHaveRunHere({ mark }: Pick<JobEntry, 'mark'>): boolean {
  return mark === 'running' || mark === 'doubtful';
}

/** Redis has the job, and does not have how it ended. */
export const BEGUN = 1;

/** As `runPlace`, of one that comes with how it ended. */
export function endedPlace(place: Place): Place {
  return { ...runPlace(place), number: 2 };
}

/** Whether a settle of this kind ends its job for good. */
export function endsJob(command: string): boolean {
  return command === 'moveToFinished';
}

/** What a handler wrote of its job, as the next attempt is to find it. */
export function noteFields(notes: Notes | undefined): IslandFields {
  const data = notes?.data?.[keyCount('updateData')];
  const progress = notes?.progress?.[keyCount('updateProgress') + 1];
  return {
    ...(data === undefined ? {} : { data: String(data) }),
    ...(progress === undefined ? {} : { progress: String(progress) }),
  };
}

/** The next attempt that an outcome asks for. */
export interface IslandRetry {
  attemptsMade: number;
  /** From the outcome on. */
  delayMs: number;
  /** What BullMQ changes in the job's hash with it. */
  fields: IslandFields;
}

/** Undefined of an outcome that ends the job. */
export function retryOf({ job, command, args }: Settlement): IslandRetry | undefined {
  if (command !== 'retryJob' && command !== 'moveToDelayed') return undefined;
  const at = keyCount(command);
  const isDelayed = command === 'moveToDelayed';
  const isSkipped = isDelayed && args[at + 5] === '1';
  const update = args[at + (isDelayed ? 6 : 5)];
  return {
    attemptsMade: job.attemptsMade + (isSkipped ? 0 : 1),
    delayMs: isDelayed ? Number(args[at + 4]) : 0,
    fields: Buffer.isBuffer(update) ? fromFlat(unpack(update)) : {},
  };
}

function fromFlat(flat: unknown): IslandFields {
  const fields: IslandFields = {};
  if (!Array.isArray(flat)) return fields;
  for (let i = 0; i + 1 < flat.length; i += 2) fields[String(flat[i])] = String(flat[i + 1]);
  return fields;
}
