/**
 * Tells how runs ended: to the log, the metrics and the hooks, once each. What BullMQ records is told when it
 * is recorded, not before, so that a line never claims what Redis (or the journal) does not have.
 */
import type { Job } from 'bullmq';
import type { Logger } from 'pino';
import type { Clock } from '../time.ts';
import type { HookCaller, JobEvent } from './hooks.ts';
import type { JobMeter } from './meter.ts';
import type { Outcome } from './outcome.ts';
import { logOutcome, waitMsOf } from './outcome-log.ts';
import type { Run } from './run.ts';

export class OutcomeReport {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #hooks: HookCaller;
  readonly #meter: JobMeter;
  /** How a job ended, until BullMQ says that it is recorded. */
  readonly #ended = new WeakMap<Job, { run: Run; outcome: Outcome }>();
  /** Jobs whose recording was dropped, until BullMQ tells of it, which follows at once. */
  readonly #dropped = new Set<string>();
  /** Jobs that ended here for good, completed or failed, since the start. */
  finished = 0;

  constructor(log: Logger, clock: Clock, hooks: HookCaller, meter: JobMeter) {
    this.#log = log;
    this.#clock = clock;
    this.#hooks = hooks;
    this.#meter = meter;
  }

  /** The backend found the job in another's hands: what BullMQ takes for recorded is not. */
  dropped(jobId: string): void {
    this.#dropped.add(jobId);
  }

  /** A run has ended; nothing is told yet. */
  ended(run: Run, outcome: Outcome): void {
    this.#ended.set(run.job, { run, outcome });
  }

  /** BullMQ has recorded a result. */
  completed(job: Job): void {
    const run = this.#ended.get(job)?.run;
    if (!run) return;
    if (this.#dropped.delete(job.id ?? '')) {
      this.moved(run, 'job.dropped', 'dropped', 'warn');
      return;
    }
    this.finished += 1;
    this.moved(run, 'job.completed', 'completed', 'info');
    this.#hooks.call('onCompleted', {
      ...eventOf(job, run),
      durationMs: this.#durationMs(run),
      result: job.returnvalue,
    });
  }

  /** BullMQ has recorded a failure, also of a job that never began: one that stalled too often. */
  failed(job: Job, error: Error): void {
    const known = this.#ended.get(job);
    if (this.#dropped.delete(job.id ?? '') || known?.outcome.type === 'dropped') return;
    const isFinal = job.finishedOn !== undefined;
    if (isFinal) this.finished += 1;
    const event = eventOf(job, known?.run);
    const durationMs = known && this.#durationMs(known.run);
    const outcome = isFinal ? 'failed' : 'retried';
    const waitMs = waitMsOf(job);
    this.#meter.ended(job.queueName, outcome, durationMs, waitMs);
    logOutcome(this.#log, job.queueName, job, {
      event: isFinal ? 'job.failed' : 'job.retried',
      outcome,
      level: isFinal ? 'error' : 'warn',
      attempt: event.attempt,
      attemptsMax: event.attemptsMax,
      durationMs,
      waitMs,
      traceId: known?.run.traceId,
      error,
      delayMs: isFinal ? undefined : job.delay,
    });
    const isWrapped = error.name === 'UnrecoverableError' && error.cause instanceof Error;
    this.#hooks.call('onFailed', {
      ...event,
      durationMs: durationMs ?? 0,
      error: isWrapped ? (error.cause as Error) : error,
      isFinal,
    });
  }

  /** The job went where no result and no failure is recorded; told at once. */
  moved(
    run: Run,
    event: string,
    outcome: string,
    level: 'info' | 'warn',
    more: { error?: Error; delayMs?: number } = {},
  ): void {
    const { queue } = run.definition;
    const durationMs = this.#durationMs(run);
    const waitMs = waitMsOf(run.job);
    this.#meter.ended(queue, outcome, durationMs, waitMs);
    logOutcome(this.#log, queue, run.job, {
      event,
      outcome,
      level,
      attempt: run.attempt,
      attemptsMax: run.attemptsMax,
      durationMs,
      waitMs,
      traceId: run.traceId,
      ...more,
    });
  }

  #durationMs(run: Run): number {
    return this.#clock.now() - run.startedAt;
  }
}

function eventOf(job: Job, run: Run | undefined): JobEvent {
  return {
    queue: job.queueName,
    jobId: job.id!,
    jobName: job.name,
    attempt: run?.attempt ?? job.attemptsMade,
    attemptsMax: run?.attemptsMax ?? Math.max(1, job.opts.attempts ?? 1),
  };
}
