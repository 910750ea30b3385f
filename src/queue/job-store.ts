/**
 * How an accepted job or flow stands in the journal, and how it comes back: as BullMQ's own record of a
 * job, with data, options and the time of acceptance, so that a release with other scripts can still
 * replay what an earlier one kept.
 */
import { randomUUID } from 'node:crypto';
import type { JobJson, ParentKeyOpts } from 'bullmq';
import type { JobEntry, Kept } from '../journal/entry.ts';
import type { QueueLedger } from './ledger.ts';
import type { FlowEntries } from './sender.ts';

/** What was accepted: one job, or a flow under its root's id. */
export interface AcceptedJob {
  jobId: string;
  name: string;
  /** Exactly one of the two. */
  single?: { job: JobJson; parent: ParentKeyOpts };
  flow?: FlowEntries;
}

/**
 * Under which number of which series a job goes to Redis: that of the add which the journal took over, or
 * its place among what this process wrote to the journal. It stays with the entry for good, so that
 * whoever replays it, also after a crash or an adoption, asks Redis about the same number.
 */
export interface Place {
  key: string;
  number: number;
}

export interface StoredJob extends AcceptedJob {
  place: Place;
}

/** On its way to the journal. A class for the reason that the journal's `Packed` is one. */
class AcceptedEntry implements JobEntry {
  readonly type = 'job';
  readonly queue: string;
  readonly prefix: string;
  readonly jobId: string;
  readonly name: string;
  readonly mark: 'unsent' | 'sent';
  readonly args: string;
  readonly at: number;

  constructor(
    { queue, prefix }: QueueLedger,
    { jobId, name, single, flow }: AcceptedJob,
    at: number,
    place: Place,
    mark: 'unsent' | 'sent',
  ) {
    this.queue = queue;
    this.prefix = prefix;
    this.jobId = jobId;
    this.name = name;
    this.mark = mark;
    this.args = single ? textOfSingle(place, single) : JSON.stringify({ place, flow });
    this.at = at;
  }
}

export function jobEntry(
  ledger: QueueLedger,
  job: AcceptedJob,
  at: number,
  place: Place,
  mark: 'unsent' | 'sent',
): JobEntry {
  return new AcceptedEntry(ledger, job, at, place, mark);
}

/** What BullMQ's record says of every new job; not written down. */
const OF_EVERY_JOB = {
  progress: 0,
  attemptsMade: 0,
  attemptsStarted: 0,
  stalledCounter: 0,
  stacktrace: 'null',
  returnvalue: 'null',
} as const;

/** The record without what the entry says already, and in a second line the data, which is JSON by itself. */
function textOfSingle(place: Place, { job, parent }: NonNullable<AcceptedJob['single']>): string {
  const { progress, attemptsMade, attemptsStarted, stalledCounter, stacktrace, returnvalue } = job;
  const unlessUsual = <Value>(value: Value, usual: Value) => (value === usual ? undefined : value);
  const record = {
    ...job,
    id: undefined,
    name: undefined,
    data: undefined,
    progress: unlessUsual(progress, OF_EVERY_JOB.progress),
    attemptsMade: unlessUsual(attemptsMade, OF_EVERY_JOB.attemptsMade),
    attemptsStarted: unlessUsual(attemptsStarted, OF_EVERY_JOB.attemptsStarted),
    stalledCounter: unlessUsual(stalledCounter, OF_EVERY_JOB.stalledCounter),
    stacktrace: unlessUsual(stacktrace, OF_EVERY_JOB.stacktrace),
    returnvalue: unlessUsual(returnvalue, OF_EVERY_JOB.returnvalue),
  };
  return `${JSON.stringify({ place, single: { job: record, parent } })}\n${job.data}`;
}

/** The first line, and what follows it. */
function linesOf(args: string): { first: string; rest: string | undefined } {
  const end = args.indexOf('\n');
  if (end < 0) return { first: args, rest: undefined };
  return { first: args.slice(0, end), rest: args.slice(end + 1) };
}

export function storedJob(entry: Kept<JobEntry>): StoredJob {
  const { jobId, name } = entry;
  const { first, rest: data } = linesOf(entry.args);
  const { place, single, flow } = JSON.parse(first);
  if (data === undefined) return { jobId, name, single, flow, place };
  const job = { ...OF_EVERY_JOB, ...single.job, id: jobId, name, data };
  return { jobId, name, single: { ...single, job }, flow, place };
}

/**
 * What a job that Redis refused carries when it is put back in line: its number was taken by the request that
 * was refused, so that from then on it would pass for added. A series of its own, in the slot of the old one.
 */
export function underNewNumber(args: string): string {
  try {
    const { first, rest } = linesOf(args);
    const stored = JSON.parse(first);
    const key = `${stored.place.key}:${stored.place.number}:${randomUUID()}`;
    const renewed = JSON.stringify({ ...stored, place: { key, number: 1 } });
    return rest === undefined ? renewed : `${renewed}\n${rest}`;
  } catch {
    // Nothing that a job could be made of: it is refused again.
    return args;
  }
}
