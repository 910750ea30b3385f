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

export function jobEntry(
  ledger: QueueLedger,
  job: AcceptedJob,
  at: number,
  place: Place,
  mark: 'unsent' | 'sent',
): JobEntry {
  const { jobId, name, single, flow } = job;
  return {
    type: 'job',
    queue: ledger.queue,
    prefix: ledger.prefix,
    jobId,
    name,
    mark,
    args: JSON.stringify({ place, single, flow }),
    at,
  };
}

export function storedJob(entry: Kept<JobEntry>): StoredJob {
  const { place, single, flow } = JSON.parse(entry.args);
  return { jobId: entry.jobId, name: entry.name, single, flow, place };
}

/**
 * What a job that Redis refused carries when it is put back in line: its number was taken by the request that
 * was refused, so that from then on it would pass for added. A series of its own, in the slot of the old one.
 */
export function underNewNumber(args: string): string {
  try {
    const stored = JSON.parse(args);
    const key = `${stored.place.key}:${stored.place.number}:${randomUUID()}`;
    return JSON.stringify({ ...stored, place: { key, number: 1 } });
  } catch {
    // Nothing that a job could be made of: it is refused again.
    return args;
  }
}
