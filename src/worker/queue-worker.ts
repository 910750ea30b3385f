/**
 * The worker of one queue: a BullMQ Worker, and the runs that it has begun.
 *
 * 1. takes jobs once `setup()` is done;
 * 2. performs each as a run (`run.ts`) and has BullMQ told how it ended (`acknowledge.ts`);
 * 3. has the outcome told when it is recorded, not before (`outcome-report.ts`);
 * 4. stops in the order that never loses a job: no new jobs, wait, abort, hand back, close.
 *
 * What it must never do: wait for Redis without a deadline while it stops.
 */
import type { Job } from 'bullmq';
import type { Config } from '../config.ts';
import { LockLostError, ShutdownError } from '../errors.ts';
import type { RedisTarget } from '../queue/target.ts';
import { queueVariable } from '../settings.ts';
import type { Instant } from '../time.ts';
import { type AcknowledgeDeps, acknowledge } from './acknowledge.ts';
import {
  BullErrors,
  type BullWorker,
  type BullWorkerDeps,
  createBullWorker,
} from './bull-worker.ts';
import { settledBy } from './deadline.ts';
import type { WorkerDefinition } from './definition.ts';
import { DownstreamBreaker } from './downstream-breaker.ts';
import { type JobMeter, noMeter } from './meter.ts';
import { isUnrecoverable, type Outcome } from './outcome.ts';
import { OutcomeReport } from './outcome-report.ts';
import { Resources } from './resources.ts';
import { perform, Run, type RunDeps } from './run.ts';

export interface QueueWorkerDeps
  extends Omit<RunDeps, 'resources' | 'onOverdue'>,
    Omit<BullWorkerDeps, 'target' | 'log' | 'config'> {
  config: Config;
  /** All queues that the service handles, here or elsewhere. */
  queues: readonly string[];
  target: BullWorkerDeps['target'] & Partial<Pick<RedisTarget, 'limitSlots' | 'began'>>;
  meter?: JobMeter | undefined;
}

/** An aborted handler that obeys its signal ends within this time, ms. */
const OBEY_MS = 500;
/** BullMQ's maximumRateLimitDelay, ms. */
const RATE_LIMIT_MS_MAX = 30_000;
/** Recording the outcomes and closing a Worker takes a round trip each; a share for each, ms. */
const CLOSE_MS = 250;

export class QueueWorker {
  readonly definition: WorkerDefinition;
  /** Runs at the same time by definition and configuration; replaced slots come on top. */
  readonly concurrency: number;
  readonly #deps: QueueWorkerDeps;
  readonly #runDeps: RunDeps;
  readonly #resources: Resources;
  #worker: BullWorker;
  /** Every run, with the Worker that it belongs to: after a rebuild those of the old one go on. */
  readonly #runs = new Map<Run, BullWorker>();
  /** Workers that were rebuilt and have not ended: the one that is wedged may never. */
  readonly #old = new Set<BullWorker>();
  readonly #report: OutcomeReport;
  readonly #errors: BullErrors;
  readonly #acknowledging: AcknowledgeDeps;
  readonly #downstream: DownstreamBreaker | undefined;
  /** Runs whose handler goes on long after its timeout. */
  readonly #overdue = new Set<Run>();
  #isConsuming = false;
  #isStopping = false;
  /** When stopping: the instant by which jobs are handed back. */
  #handBackBy: Instant | undefined;
  /** Set by `quiet`: resolves when the last run is recorded. */
  #idle: Promise<void> | undefined;
  /** Hears that the last run has ended. */
  #noRuns: (() => void) | undefined;
  /** The present change of concurrency, which pauses for an instant; a quiet comes after it. */
  #resized: Promise<void> = Promise.resolve();

  constructor(definition: WorkerDefinition, deps: QueueWorkerDeps) {
    this.definition = definition;
    this.#deps = deps;
    this.concurrency = concurrencyOf(definition, deps.config);
    this.#report = new OutcomeReport(deps.log, deps.clock, deps.hooks, deps.meter ?? noMeter);
    this.#errors = new BullErrors(definition.queue, deps.log, deps.clock);
    const { config, queues, log, clock } = deps;
    this.#resources = new Resources(definition, [config, { queues }], log, clock);
    this.#runDeps = {
      ...deps,
      resources: () => this.#resources.value,
      onOverdue: (run) => this.#overdueRun(run),
    };
    this.#downstream = this.#createDownstream();
    this.#acknowledging = {
      queue: definition.queue,
      clock: deps.clock,
      log: deps.log,
      report: this.#report,
      backend: () => this.#worker.getBackend(),
      handBackBy: () => this.#handBackBy,
    };
    this.#worker = this.#createWorker();
  }

  /** Resolves at once: jobs are taken when `setup()` is done and Redis is there. */
  start(): void {
    void this.#startWhenReady();
  }

  async #startWhenReady(): Promise<void> {
    if (!(await this.#resources.open()) || this.#isStopping || this.#idle) return;
    this.#isConsuming = true;
    this.#worker.run().catch(this.#errors.tell);
  }

  /** Why no job is taken here; undefined when jobs are. */
  get idleReason(): string | undefined {
    if (this.#isStopping) return 'stopping';
    if (this.#idle) return 'quiet';
    if (!this.#isConsuming) return this.#resources.failure ?? 'starting';
    if (this.#downstream?.isOpen) return 'its breaker is open';
    if (this.#downstream?.isHalfOpen && this.#runs.size > 0) return 'its breaker tries one job';
    if (this.#overdue.size > this.concurrency) {
      return `${this.#overdue.size} handlers ignore their timeout`;
    }
    return undefined;
  }

  get running(): number {
    return this.#runs.size;
  }

  /** Jobs that ended here for good since the start. */
  get finished(): number {
    return this.#report.finished;
  }

  get overdue(): number {
    return this.#overdue.size;
  }

  /** Slots in which a job could begin. */
  get freeSlots(): number {
    let free = this.#worker.concurrency;
    for (const worker of this.#runs.values()) if (worker === this.#worker) free -= 1;
    return free;
  }

  /** A limited queue may rightly not ask for work for so long, ms. */
  get limitMs(): number {
    return this.definition.limiter ? RATE_LIMIT_MS_MAX : 0;
  }

  /** The run's outcome is not recorded: another worker has the job. */
  dropped(jobId: string): void {
    this.#report.dropped(jobId);
  }

  /** A new Worker takes over; the old one drains beside it, its jobs' locks belong to the process. */
  rebuild(): void {
    const old = this.#worker;
    this.#worker = this.#createWorker();
    this.#worker.run().catch(this.#errors.tell);
    this.#old.add(old);
    old
      .close()
      .catch(this.#errors.tell)
      .finally(() => this.#old.delete(old));
  }

  #createWorker(): BullWorker {
    const { definition, concurrency } = this;
    const { queue } = definition;
    const worker: BullWorker = createBullWorker(definition, concurrency, this.#deps, (job, token) =>
      this.#process(worker, job, token),
    );
    worker.on('completed', (job) => this.#report.completed(job as Job));
    worker.on('failed', (job, error) => {
      if (job) this.#report.failed(job as Job, error);
    });
    worker.on('lockRenewalFailed', (ids) => {
      for (const id of ids) this.abort(id, new LockLostError(queue, id));
    });
    worker.on('error', this.#errors.tell);
    return worker;
  }

  // A job ------------------------------------------------------------------------------------------

  async #process(worker: BullWorker, job: Job, token: string | undefined): Promise<unknown> {
    const run = new Run(this.definition, job, this.#runDeps);
    this.#runs.set(run, worker);
    if (token !== undefined) this.#deps.target.began?.(this.definition.queue, job.id!, token);
    try {
      // Taken by a request that was under way when the quiet or stop began: it goes back unseen.
      const outcome: Outcome = this.#idle
        ? { type: 'returned', error: new ShutdownError(0) }
        : await perform(run, this.#runDeps);
      this.#tellDownstream(outcome);
      return await acknowledge(run, outcome, token, this.#acknowledging);
    } finally {
      this.#runs.delete(run);
      if (this.#runs.size === 0) this.#noRuns?.();
    }
  }

  #createDownstream(): DownstreamBreaker | undefined {
    const { queue, breaker } = this.definition;
    const { clock, log, target } = this.#deps;
    if (!breaker) return undefined;
    const { failures, openFor: openForMs } = breaker;
    return new DownstreamBreaker({
      clock,
      failures,
      openForMs,
      limit: (slots) => target.limitSlots?.(queue, slots),
      onChange: (state) => {
        if (state === 'closed') {
          log.info({ event: 'downstream.closed', queue }, `jobs of queue ${queue} succeed again`);
          return;
        }
        log.error(
          { event: 'downstream.opened', queue, failures, openForMs },
          `${failures} attempts of queue ${queue} failed in a row: it is not fetched for ${openForMs} ms, then one job is tried; see what its handler calls`,
        );
      },
    });
  }

  /** What fails for good is the job's own fault; what was handed back or moved says nothing. */
  #tellDownstream(outcome: Outcome): void {
    if (outcome.type === 'completed') this.#downstream?.ended(false);
    if (outcome.type === 'failed' && !isUnrecoverable(outcome.error)) this.#downstream?.ended(true);
  }

  // Handlers that do not end -------------------------------------------------------------------------

  /** Aborts the signal of the runs of a job. */
  abort(jobId: string, reason: Error): void {
    for (const run of this.#runs.keys()) {
      if (run.job.id === jobId) run.abort(reason);
    }
  }

  /**
   * A handler goes on after its timeout. Without attempts left nothing can overlap: the job fails now.
   * With attempts left its run stays open, so that no other begins, and its slot is replaced. Either
   * way at most `concurrency` times: then the queue stands still here, and says so.
   */
  #overdueRun(run: Run): void {
    this.#overdue.add(run);
    const worker = this.#runs.get(run) ?? this.#worker;
    const isReplaced = this.#overdue.size <= this.concurrency;
    const isLast = run.attempt >= run.attemptsMax;
    this.#deps.log.error(
      {
        event: 'job.overdue',
        queue: this.definition.queue,
        jobName: run.job.name,
        jobId: run.job.id,
        overdue: this.#overdue.size,
        isReplaced,
      },
      `the handler of a job ignores its signal: it goes on after its timeout of ${this.definition.timeout} ms`,
    );
    if (isReplaced && isLast) run.abandon();
    else if (isReplaced) this.#resize(worker, 1);
    void run.handlerEnded.then(() => {
      this.#overdue.delete(run);
      if (isReplaced && !isLast) this.#resize(worker, -1);
    });
  }

  #resize(worker: BullWorker, by: number): void {
    worker.concurrency += by;
    if (by < 0 || !this.#isConsuming || this.#idle) return;
    // The main loop sleeps until a job ends; a pause that waits for nothing and its end wake it.
    this.#resized = this.#resized
      .then(() => worker.pause(true))
      .then(() => worker.resume())
      .catch(this.#errors.tell);
  }

  // Stopping -----------------------------------------------------------------------------------------

  /** Takes no more jobs, goes on with those that run; resolves when the last is recorded. */
  quiet(): Promise<void> {
    this.#idle ??= this.#isConsuming
      ? this.#resized
          .then(() => this.#worker.pause())
          .catch(this.#errors.tell)
          .then(() => this.#runsEnd())
      : Promise.resolve();
    this.#isConsuming = false;
    return this.#idle;
  }

  /** Those of a Worker that was rebuilt have no pause that waits for them. */
  async #runsEnd(): Promise<void> {
    if (this.#runs.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#noRuns = resolve;
    });
  }

  /** `graceBy`: handlers may go on until then; `deadline`: all is over by then. */
  async stop(graceBy: Instant, deadline: Instant, graceMs: number): Promise<void> {
    const { clock } = this.#deps;
    const idle = this.quiet();
    this.#downstream?.stop();
    const handBackBy = deadline - CLOSE_MS;
    this.#handBackBy = handBackBy;
    this.#isStopping = true;
    if (!(await settledBy(idle, graceBy, clock))) {
      for (const run of this.#runs.keys()) run.abort(new ShutdownError(graceMs));
      const obeyBy = Math.min(clock.now() + OBEY_MS, (clock.now() + handBackBy) / 2);
      if (!(await settledBy(idle, obeyBy, clock))) {
        for (const run of this.#runs.keys()) run.abandon();
        await settledBy(idle, handBackBy, clock);
      }
    }
    // What is left of them waits for answers that nobody needs any more.
    for (const old of this.#old) void old.getBackend().close();
    // Only now: BullMQ's close takes its one closing promise and never settles without Redis.
    await Promise.all([
      this.#resources.close(deadline),
      settledBy(this.#worker.close(true), deadline, clock),
    ]);
  }
}

/** What an operator sets for the queue wins over the handler, the handler over the default. */
function concurrencyOf(
  { queue, concurrency }: WorkerDefinition,
  config: Pick<Config, 'concurrency'>,
): number {
  const { perQueue } = config.concurrency;
  return (
    perQueue[queueVariable(queue)] ?? perQueue[queue] ?? concurrency ?? config.concurrency.default
  );
}
