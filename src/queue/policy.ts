/**
 * What each operation of BullMQ does while the breaker is not closed, by kind. This table is the only
 * place that says so; `ResilientBackend` carries it out.
 */

import { isFenced, keyCount } from './fenced-scripts.ts';

export type Kind =
  /** Takes work: waits without polling until admitted, never throws an outage into the main loop. */
  | 'take'
  /** Records an outcome: goes to the journal, is replayed on recovery. */
  | 'settle'
  /** Renews locks: reports success, the lock is taken back on recovery. */
  | 'keep'
  /** Recovers others' work: not done, and never late. */
  | 'recover'
  /** Adds work: a typed error by the deadline. */
  | 'add'
  /** Notes of a handler: kept, written before the outcome; never throws, never holds up. */
  | 'annotate'
  /**
   * From a worker it waits, as long as the handler that asks may, and is asked again (it must be
   * idempotent); else a typed error by the deadline.
   */
  | 'ask';

/** By the name of BullMQ's script. Scripts not named here are `ask`. */
const byScript: Readonly<Record<string, Kind>> = {
  moveToActive: 'take',
  moveToFinished: 'settle',
  moveToDelayed: 'settle',
  retryJob: 'settle',
  moveJobFromActiveToWait: 'settle',
  extendLock: 'keep',
  extendLocks: 'keep',
  moveStalledJobsToWait: 'recover',
  addStandardJob: 'add',
  addDelayedJob: 'add',
  addPrioritizedJob: 'add',
  addParentJob: 'add',
  updateProgress: 'annotate',
  updateData: 'annotate',
  addLog: 'annotate',
};

export function kindOf(script: string): Kind {
  return byScript[script] ?? 'ask';
}

/** Whether an operation of BullMQ's backend, a script or not, changes nothing. */
export function onlyReads(operation: string): boolean {
  return !isFenced(operation) || /^(get|has|is)[A-Z]/.test(operation);
}

/**
 * Where a settling script's arguments stand behind its keys (BullMQ 6.7; a test compares them with
 * the installed package): the job's id, the token, and the flag that fetches the next job with it.
 */
export const settleArguments: Readonly<
  Record<string, { jobId: number; token?: number; fetchNext?: number }>
> = {
  moveToFinished: { jobId: 0, fetchNext: 5 },
  moveToDelayed: { jobId: 2, token: 3, fetchNext: 7 },
  retryJob: { jobId: 3, token: 4 },
  moveJobFromActiveToWait: { jobId: 0, token: 1 },
};

/** The same settling arguments with fetchNext off, fit to be sent again: a replay takes no job. */
export function withoutFetch(script: string, args: readonly unknown[]): unknown[] {
  const copy = args.map((arg) => (arg === undefined ? '' : arg));
  const at = settleArguments[script]?.fetchNext;
  if (at !== undefined) copy[keyCount(script) + at] = 0;
  return copy;
}
