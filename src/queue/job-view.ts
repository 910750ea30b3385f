/** A job as those see it who ask for it: from Redis, or from the journal while only that has it. */
import type { Job } from 'bullmq';
import type { JobEntry, Kept } from '../journal/journal.ts';
import type { JobView } from './client.ts';

/** A job that only the journal has. */
export function journaledView(entry: Kept<JobEntry>): JobView {
  return {
    id: entry.jobId,
    queue: entry.queue,
    name: entry.name,
    state: 'journaled',
    progress: 0,
    result: undefined,
    failedReason: undefined,
    attemptsMade: 0,
    createdAt: entry.at,
    startedAt: undefined,
    finishedAt: undefined,
  };
}

export function viewOf(queue: string, job: Job<unknown, unknown>, state: string): JobView {
  return {
    id: job.id!,
    queue,
    name: job.name,
    state,
    progress: job.progress,
    result: job.returnvalue,
    // The reason of an earlier attempt stays in Redis; of a job that is done it would be a lie.
    failedReason: state === 'completed' ? undefined : job.failedReason,
    attemptsMade: job.attemptsMade,
    createdAt: job.timestamp,
    startedAt: job.processedOn,
    finishedAt: job.finishedOn,
  };
}
