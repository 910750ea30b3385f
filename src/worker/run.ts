/**
 * One run of one job: a value that goes through small steps, from the handler's choice to the
 * outcome. The same steps run over BullMQ and, in `holdfast/testing`, over nothing at all.
 *
 * What it must never do: talk to Redis, or let a handler's error leave it as anything but an outcome.
 */
import type { Job } from 'bullmq';
import type { Logger } from 'pino';
import {
  HandlerTimeoutError,
  InvalidJobDataError,
  ResultNotJsonError,
  ResultTooLargeError,
  ShutdownError,
  UnknownJobNameError,
} from '../errors.ts';
import { asCaller } from '../queue/caller.ts';
import type { Clock, Instant } from '../time.ts';
import { createContext } from './context.ts';
import type { Handler, HandlerContext, WorkerDefinition } from './definition.ts';
import type { HookCaller } from './hooks.ts';
import { Notes } from './notes.ts';
import { type Ending, type Outcome, outcomeOf } from './outcome.ts';

/** What a run needs of the world around it. */
export interface RunDeps {
  clock: Clock;
  log: Logger;
  client: { enqueue: HandlerContext['enqueue'] };
  hooks: HookCaller;
  /** What `setup()` returned. */
  resources: () => unknown;
  resultBytesMax: number;
  unknownJobGraceMs: number;
  /** The trace that the present code runs in, where traces are made. */
  traceId?: (() => string | undefined) | undefined;
  /** The handler goes on although its timeout aborted its signal a while ago. */
  onOverdue: (run: Run) => void;
}

/** A handler that goes on this long after its timeout is named in the log, ms. */
export const OVERDUE_MS = 5000;

/** Issues of one job's data that its error names. */
const ISSUES_MAX = 10;

/**
 * The run itself. What most handlers never touch (signal, logger, notes) is made when it is asked
 * for: thousands of small jobs a second pay for nothing else.
 */
export class Run {
  readonly definition: WorkerDefinition;
  readonly job: Job;
  readonly attempt: number;
  readonly attemptsMax: number;
  readonly startedAt: Instant;
  /** The trace of this run; undefined where none is made. */
  readonly traceId: string | undefined;
  /** Why the run was told to stop; undefined while it was not. A typed error. */
  abortReason: Error | undefined;
  /** Lets the run end without its handler, which ignores its signal. */
  abandon: () => void = ignore;
  readonly #deps: RunDeps;
  #working: Promise<unknown> = Promise.resolve();
  #controller: AbortController | undefined;
  #log: Logger | undefined;
  #notes: Notes | undefined;

  /** Begins a run: what the job leaves open is filled in from its handler's definition. */
  constructor(definition: WorkerDefinition, job: Job, deps: RunDeps) {
    applyDefaults(definition, job);
    this.definition = definition;
    this.job = job;
    this.attempt = job.attemptsMade + 1;
    this.attemptsMax = Math.max(1, job.opts.attempts ?? 1);
    this.startedAt = deps.clock.now();
    this.traceId = deps.traceId?.();
    this.#deps = deps;
    // In place of the job's own methods, so that these keep the promise of `ctx.progress` as well.
    job.updateProgress = (value) => this.notes.progress(value);
    job.log = (line) => this.notes.line(line);
  }

  /** Aborts the handler's signal; the first reason stands. */
  abort(reason: Error): void {
    if (this.abortReason) return;
    this.abortReason = reason;
    this.#controller?.abort(reason);
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.abortReason) this.#controller.abort(this.abortReason);
    }
    return this.#controller.signal;
  }

  get log(): Logger {
    this.#log ??= this.#deps.log.child({
      queue: this.definition.queue,
      jobId: this.job.id,
      jobName: this.job.name,
      attempt: this.attempt,
      ...(this.traceId === undefined ? {} : { traceId: this.traceId }),
    });
    return this.#log;
  }

  get notes(): Notes {
    this.#notes ??= new Notes(this.job, () => this.log, this.#deps.clock);
    return this.#notes;
  }

  /** The run is over: notes that were kept back are sent. */
  flush(): void {
    this.#notes?.flush();
  }

  /** Calls `work`; settles with it, or rejects with the abort's reason when the run is abandoned. */
  work(work: () => Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.abandon = () => reject(this.abortReason ?? new ShutdownError(0));
      this.#working = work();
      this.#working.then(resolve, reject);
    });
  }

  /** Resolves when the handler itself has ended, also one that was abandoned. Never rejects. */
  get handlerEnded(): Promise<void> {
    return this.#working.then(ignore, ignore);
  }
}

/** BullMQ stores 0 for "not set"; its retry decision reads the job's own options. */
function applyDefaults(definition: WorkerDefinition, job: Job): void {
  if (!job.opts.attempts) job.opts.attempts = definition.attempts ?? 1;
  if (job.opts.backoff === undefined && definition.backoff !== undefined) {
    const { backoff } = definition;
    job.opts.backoff = typeof backoff === 'number' ? { type: 'fixed', delay: backoff } : backoff;
  }
}

/** The life of a run, top to bottom. Never rejects. */
export async function perform(run: Run, deps: RunDeps): Promise<Outcome> {
  tellStarted(run, deps);
  const ended = await endOf(run, deps);
  run.flush();
  return outcomeOf({
    ended,
    abortReason: run.abortReason,
    attempt: run.attempt,
    attemptsMax: run.attemptsMax,
    failedReason: run.job.failedReason,
    now: deps.clock.wall(),
    unknownJobGraceMs: run.definition.unknownJobGrace ?? deps.unknownJobGraceMs,
  });
}

function tellStarted(run: Run, deps: RunDeps): void {
  deps.hooks.call('onStarted', {
    queue: run.definition.queue,
    jobId: run.job.id!,
    jobName: run.job.name,
    attempt: run.attempt,
    attemptsMax: run.attemptsMax,
  });
}

/**
 * The handler's end, which a timeout hurries by aborting its signal. The run waits for the handler
 * all the same: while it goes on, a second attempt must not begin anywhere. Only who stops the
 * process, or has no attempt left to protect, abandons a run.
 */
async function endOf(run: Run, deps: RunDeps): Promise<Ending['ended']> {
  const stopClock = startTimeout(run, deps);
  try {
    return { ok: true, result: await run.work(() => callHandler(run, deps)) };
  } catch (error) {
    return { ok: false, error };
  } finally {
    stopClock();
  }
}

async function callHandler(run: Run, deps: RunDeps): Promise<unknown> {
  const handler = pickHandler(run);
  if (run.definition.schema) await validate(run, run.definition.schema);
  const result = await asCaller(run, () => handler(run.job, createContext(run, deps)));
  checkResult(run, result, deps.resultBytesMax);
  return result;
}

function startTimeout(run: Run, deps: RunDeps): () => void {
  const { timeout, queue } = run.definition;
  if (timeout === undefined) return ignore;
  let cancel = deps.clock.after(timeout, () => {
    run.abort(new HandlerTimeoutError(queue, timeout));
    cancel = deps.clock.after(OVERDUE_MS, () => deps.onOverdue(run));
  });
  return () => cancel();
}

function ignore(): void {}

function pickHandler({ definition, job }: Run): Handler {
  if (definition.handler) return definition.handler;
  const { handlers } = definition;
  // Own properties only: a job may be named "constructor".
  if (Object.hasOwn(handlers, job.name)) return handlers[job.name]!;
  throw new UnknownJobNameError(definition.queue, job.name, Object.keys(handlers));
}

/** The handler gets what its schema makes of the data; what is stored stays as it was sent. */
async function validate(
  { definition: { queue }, job }: Run,
  schema: NonNullable<WorkerDefinition['schema']>,
): Promise<void> {
  const checked = await schema['~standard'].validate(job.data);
  if (!checked.issues) {
    job.data = checked.value;
    return;
  }
  throw new InvalidJobDataError(
    queue,
    checked.issues.slice(0, ISSUES_MAX).map(({ path, message }) => ({
      path: (path ?? [])
        .map((part) => String(typeof part === 'object' ? part.key : part))
        .join('.'),
      message,
    })),
  );
}

function checkResult({ definition: { queue } }: Run, result: unknown, bytesMax: number): void {
  if (result === undefined || result === null || typeof result === 'boolean') return;
  let json: string | undefined;
  try {
    json = JSON.stringify(result) as string | undefined;
  } catch (error) {
    const { message } = error as Error;
    throw new ResultNotJsonError(queue, message.split('\n')[0] ?? '', error);
  }
  if (json === undefined) throw new ResultNotJsonError(queue, `it is a ${typeof result}`);
  // A character is at most three bytes of UTF-8: most results need no counting.
  if (json.length * 3 <= bytesMax) return;
  const bytes = Buffer.byteLength(json);
  if (bytes > bytesMax) throw new ResultTooLargeError(queue, bytes, bytesMax);
}
