/**
 * How BullMQ is told that a run has ended: one clause per outcome. What is returned or thrown is BullMQ's
 * language. A server that does not answer is not waited for longer than the stop allows.
 */
import { DelayedError, type RedisQueueBackend, WaitingError } from 'bullmq';
import type { Logger } from 'pino';
import type { Clock, Instant } from '../time.ts';
import { settledBy } from './deadline.ts';
import { type Outcome, unrecoverable } from './outcome.ts';
import type { OutcomeReport } from './outcome-report.ts';
import type { Run } from './run.ts';

export interface AcknowledgeDeps {
  queue: string;
  clock: Clock;
  log: Logger;
  report: OutcomeReport;
  backend(): RedisQueueBackend;
  /** When stopping: the instant by which jobs are handed back. */
  handBackBy(): Instant | undefined;
}

/** Without a deadline of a stop, a job that is handed back waits for Redis at most this long, ms. */
const HAND_BACK_MS = 10_000;

export async function acknowledge(
  run: Run,
  outcome: Outcome,
  token: string | undefined,
  deps: AcknowledgeDeps,
): Promise<unknown> {
  const { report, clock } = deps;
  const { job } = run;
  report.ended(run, outcome);
  switch (outcome.type) {
    case 'completed':
      return outcome.result;
    case 'failed':
      throw outcome.isFinal ? unrecoverable(outcome.error) : outcome.error;
    case 'delayed':
      await job.moveToDelayed(clock.wall() + outcome.delayMs, token);
      report.moved(run, 'job.delayed', 'delayed', 'info', { delayMs: outcome.delayMs });
      throw new DelayedError();
    case 'put-off':
      await putOff(run, outcome, token, deps);
      throw new DelayedError();
    case 'returned':
      await handBack(run, token, deps);
      throw new WaitingError();
    case 'moved':
      report.moved(run, 'job.moved', 'moved', 'info', { error: outcome.error });
      throw outcome.error;
    case 'dropped':
      report.moved(run, 'job.dropped', 'dropped', 'warn', { error: outcome.error });
      // The backend finds out that the job is another's and records nothing.
      throw outcome.error;
  }
}

async function putOff(
  run: Run,
  { delayMs, failedReason, error }: Extract<Outcome, { type: 'put-off' }>,
  token: string | undefined,
  { backend, clock, report }: AcknowledgeDeps,
): Promise<void> {
  await backend().moveToDelayed(run.job.id!, clock.wall(), delayMs, token, {
    skipAttempt: true,
    fieldsToUpdate: { failedReason },
  });
  report.moved(run, 'job.put_off', 'put-off', 'warn', { delayMs, error });
}

/** The job goes back to where it came from. */
async function handBack(
  run: Run,
  token: string | undefined,
  { queue, clock, log, report, handBackBy }: AcknowledgeDeps,
): Promise<void> {
  let failure: unknown;
  const moved = run.job.moveToWait(token).catch((error: unknown) => {
    failure = error;
  });
  const isAnswered = await settledBy(moved, handBackBy() ?? clock.now() + HAND_BACK_MS, clock);
  if (isAnswered && failure === undefined) {
    report.moved(run, 'job.returned', 'returned', 'info');
    return;
  }
  log.warn(
    { event: 'job.not_returned', queue, jobId: run.job.id },
    `a job could not be handed back (${failure instanceof Error ? failure.message : 'no answer from Redis'}); it runs again elsewhere when its lock has expired`,
  );
}
