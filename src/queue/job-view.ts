/** A job as those see it who ask for it: from Redis, or from the journal while only that has it. */
import type { Job } from 'bullmq';
import type { FoundJob } from '../journal/journal.ts';
import type { JobView } from './client.ts';

/** A job that only the journal has. */
export function journaledView(entry: FoundJob): JobView {
  return {
    id: entry.jobId,
    queue: entry.queue,
    name: entry.name,
    state: entry.reason === undefined ? 'journaled' : 'refused',
    stored: 'journal',
    progress: 0,
    result: null,
    failedReason: entry.reason,
    attemptsMade: 0,
    createdAt: entry.at,
    startedAt: undefined,
    finishedAt: undefined,
  };
}

/** How many children of a waiting job have ended. */
export interface ChildCounts {
  processed?: number;
  failed?: number;
  ignored?: number;
}

/**
 * Nobody writes to a job that waits for its children. One whose progress counts (`{ done, total }`) shows
 * those that have ended by now.
 */
export function withChildren(
  view: JobView,
  { processed = 0, failed = 0, ignored = 0 }: ChildCounts,
): JobView {
  const progress = view.progress as { done?: unknown; total?: unknown } | null | undefined;
  if (typeof progress?.done !== 'number' || typeof progress.total !== 'number') return view;
  const done = Math.min(progress.total, processed + failed + ignored);
  return { ...view, progress: { ...progress, done } };
}

export function viewOf(queue: string, job: Job<unknown, unknown>, state: string): JobView {
  return {
    id: job.id!,
    queue,
    name: job.name,
    state,
    stored: 'redis',
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
