/**
 * One run of one job: a value that goes through small steps, from the handler's choice to the
 * outcome. The same steps run over BullMQ and, in `holdfast/testing`, over nothing at all.
 *
 * What it must never do: talk to Redis, or let a handler's error leave it as anything but an outcome.
 */
import type { Job } from 'bullmq';
import type { Logger } from 'pino';
import {
  InvalidJobDataError,
  JobTimeoutError,
  ResultNotJsonError,
  ResultTooLargeError,
  ShutdownError,
  UnknownJobNameError,
} from '../errors.ts';
import type { Client } from '../queue/client.ts';
import type { Clock, Instant } from '../time.ts';
import { createContext } from './context.ts';
import type { Handler, WorkerDefinition } from './definition.ts';
import type { HookCaller } from './hooks.ts';
import { Notes } from './notes.ts';
import { type Outcome, outcomeOf } from './outcome.ts';

/** What a run needs of the world around it. */
export interface RunDeps {
  clock: Clock;
  log: Logger;
  client: Pick<Client, 'enqueue'>;
  hooks: HookCaller;
  /** What `setup()` returned. */
  resources: () => unknown;
  resultBytesMax: number;
  unknownJobGraceMs: number;
  /** The handler goes on although its timeout aborted its signal a while ago. */
  onOverdue: (run: Run) => void;
}

export interface Run {
  readonly definition: WorkerDefinition;
  readonly job: Job;
  readonly attempt: number;
  readonly attemptsMax: number;
  readonly startedAt: Instant;
  /** Aborts the handler's signal, with a typed error as reason. */
  readonly controller: AbortController;
  readonly notes: Notes;
  readonly log: () => Logger;
  /** Lets the run end without its handler, which ignores its signal. */
  readonly abandon: () => void;
  readonly abandoned: Promise<void>;
  /** Resolves when the handler itself has ended; never rejects. Set once it was called. */
  handlerEnded: Promise<void>;
}

/** A handler that goes on this long after its timeout is named in the log, ms. */
export const OVERDUE_MS = 5000;

/** Begins a run: what the job leaves open is filled in from its handler's definition. */
export function beginRun(definition: WorkerDefinition, job: Job, deps: RunDeps): Run {
  applyDefaults(definition, job);
  const attempt = job.attemptsMade + 1;
  const { promise, resolve } = Promise.withResolvers<void>();
  let child: Logger | undefined;
  const log = () => {
    child ??= deps.log.child({
      queue: definition.queue,
      jobId: job.id,
      jobName: job.name,
      attempt,
    });
    return child;
  };
  return {
    definition,
    job,
    attempt,
    attemptsMax: Math.max(1, job.opts.attempts ?? 1),
    startedAt: deps.clock.now(),
    controller: new AbortController(),
    notes: Notes.attach(job, log, deps.clock),
    log,
    abandon: resolve,
    abandoned: promise,
    handlerEnded: Promise.resolve(),
  };
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
  const ended = await settled(
    endedInTime(run, deps, async () => {
      const handler = pickHandler(run);
      await validate(run);
      const result = await handler(run.job, createContext(run, deps));
      checkResult(run, result, deps.resultBytesMax);
      return result;
    }),
  );
  run.notes.flush();
  return outcomeOf({
    ended,
    abortReason: run.controller.signal.aborted ? run.controller.signal.reason : undefined,
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

async function settled(
  work: Promise<unknown>,
): Promise<{ ok: true; result: unknown } | { ok: false; error: unknown }> {
  try {
    return { ok: true, result: await work };
  } catch (error) {
    return { ok: false, error };
  }
}

/**
 * The handler's end, which a timeout hurries by aborting its signal. The run waits for the handler
 * all the same: while it goes on, a second attempt must not begin anywhere. Only who stops the
 * process, or has no attempt left to protect, abandons a run.
 */
async function endedInTime(
  run: Run,
  deps: RunDeps,
  work: () => Promise<unknown>,
): Promise<unknown> {
  const { timeout, queue } = run.definition;
  const cancels: (() => void)[] = [];
  if (timeout !== undefined) {
    cancels.push(
      deps.clock.after(timeout, () => {
        run.controller.abort(new JobTimeoutError(queue, timeout));
        cancels.push(deps.clock.after(OVERDUE_MS, () => deps.onOverdue(run)));
      }),
    );
  }
  const working = work();
  run.handlerEnded = working.then(ignore, ignore);
  try {
    return await Promise.race([
      working,
      run.abandoned.then(() => {
        throw run.controller.signal.reason ?? new ShutdownError(0);
      }),
    ]);
  } finally {
    for (const cancel of cancels) cancel();
  }
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
async function validate({ definition, job }: Run): Promise<void> {
  const { schema, queue } = definition;
  if (!schema) return;
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

/** Issues of one job's data that its error names. */
const ISSUES_MAX = 10;

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
