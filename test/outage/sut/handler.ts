/**
 * The handler of every job of the matrix, the same for plain BullMQ and for Holdfast: reports progress
 * and log lines throughout, and appends each beginning and end to the ledger, whatever becomes of
 * Redis. O_APPEND keeps runs countable across crashes.
 */
import { openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from 'bullmq';
import type { LedgerLine } from '../harness/run-ledger.ts';
import { STEP_MS, stepsOf, type Work, type WorkerSettings } from './settings.ts';

/** A report that takes longer than the detection of an outage may hold the handler up, ms. */
const HELD_UP_MS = 3000;

export type MatrixHandler = (job: Job, signal?: AbortSignal) => Promise<unknown>;

export function createHandler(settings: WorkerSettings): MatrixHandler {
  const file = openSync(settings.ledger, 'a');
  const append = (job: Job, what: LedgerLine['what'], detail?: string): void => {
    const line: LedgerLine = {
      queue: job.queueName,
      id: job.id ?? '',
      createdAt: job.timestamp,
      attempt: job.attemptsMade,
      what,
      // Not the wall clock: rows set it.
      at: Math.round(performance.timeOrigin + performance.now()),
      worker: settings.workerId,
      ...(detail === undefined ? {} : { detail }),
    };
    writeSync(file, `${JSON.stringify(line)}\n`);
  };
  return async (job, signal) => {
    const work = job.data as Work;
    const endsAt = performance.now() + work.ms;
    const steps = stepsOf(work);
    append(job, 'start');
    for (let step = 1; step <= steps; step++) {
      await report(job, step, steps, append);
      await sleep(Math.max(0, Math.min(STEP_MS, endsAt - performance.now())));
      if (signal?.aborted) {
        append(job, 'aborted', String(signal.reason));
        throw signal.reason;
      }
    }
    await sleep(Math.max(0, endsAt - performance.now()));
    if (work.blockMs !== undefined) block(work.blockMs);
    if (job.attemptsMade < (work.fails ?? 0)) {
      append(job, 'fail');
      throw new Error(`attempt ${job.attemptsMade} of ${work.value} fails as it was told to`);
    }
    append(job, 'end');
    return { value: work.value, attempt: job.attemptsMade };
  };
}

/** Progress and one log line; neither may throw into a handler nor hold it up. */
async function report(
  job: Job,
  step: number,
  steps: number,
  append: (job: Job, what: LedgerLine['what'], detail?: string) => void,
): Promise<void> {
  const began = performance.now();
  try {
    await job.updateProgress(Math.round((step / steps) * 100));
    await job.log(`step ${step} of ${steps}`);
  } catch (error) {
    append(job, 'report-threw', String(error));
  }
  const took = performance.now() - began;
  if (took > HELD_UP_MS) append(job, 'report-late', `${Math.round(took)} ms`);
}

function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}
