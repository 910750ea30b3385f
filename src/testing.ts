/**
 * `holdfast/testing`: runs a handler as the service would, through the very steps of a run, without
 * Redis and without waiting. For tests of workers, our own among them.
 */
import type { JobProgress, JobsOptions } from 'bullmq';
import pino from 'pino';
import type { Config } from './config.ts';
import { loadConfig } from './load-config.ts';
import { payloadBytes } from './queue/payload.ts';
import { systemClock } from './time.ts';
import type { WorkerDefinition } from './worker/definition.ts';
import { assertDefinitions } from './worker/definition-schema.ts';
import { HookCaller } from './worker/hooks.ts';
import { memoryJob } from './worker/memory-job.ts';
import type { Outcome } from './worker/outcome.ts';
import { perform, Run, type RunDeps } from './worker/run.ts';

/** The service's defaults of MAX_JOB_BYTES and MAX_RESULT_BYTES. */
const BYTES_MAX = 1024 * 1024;

export interface RunHandlerOptions {
  /** The job's name; default: the first of `handlers`, else the queue's. */
  name?: string;
  /** Which attempt this is, from 1. */
  attempt?: number;
  id?: string;
  /** The job's own options, e.g. `attempts`. */
  options?: JobsOptions;
  /** Results of child jobs, by job key, for `job.getChildrenValues()`. */
  children?: Record<string, unknown>;
  /** What `setup(config)` is given; default: the configuration of this process' environment. */
  config?: Config;
  /** Queues that `setup()` is told the service handles; default: the worker's own. */
  queues?: readonly string[];
  /** In place of what `setup()` returns; then neither `setup` nor `teardown` is called. */
  resources?: unknown;
  /** Answers `ctx.enqueue`; default: a made-up id. It may throw, as in an outage. */
  enqueue?: (job: EnqueuedJob) => Promise<{ id: string; stored: 'redis' | 'journal' }>;
  /** Aborts the handler's signal with its reason, e.g. a `ShutdownError`. */
  signal?: AbortSignal;
  /** Ms for which a misfit is put off first; default 0, so that it fails at once. */
  unknownJobGrace?: number;
  resultBytesMax?: number;
}

export interface EnqueuedJob {
  queue: string;
  name: string;
  data: unknown;
  options: JobsOptions;
}

export interface HandlerRun<Result = unknown> {
  /**
   * `completed`; `failed`, with no other attempt; `retried`: failed with attempts left; `delayed` by
   * `ctx.retryAfter`; `put-off`: not understood yet; `returned`: stopped by the end of the service;
   * `dropped`: lock lost; `moved`: the handler moved its job itself, in BullMQ's way.
   */
  outcome: Exclude<Outcome['type'], 'failed'> | 'failed' | 'retried';
  /** As Redis would keep it: what JSON makes of it. */
  result: Result | undefined;
  error: Error | undefined;
  /** Until the next run, of a job that is delayed or put off. */
  delayMs: number | undefined;
  /** What the handler wrote with `ctx.log`. */
  logs: Record<string, unknown>[];
  /** What it wrote with `job.log()`. */
  jobLogs: string[];
  progress: JobProgress[];
  enqueued: (EnqueuedJob & { id: string })[];
  /** The job's data afterwards. */
  data: unknown;
}

/** Runs one attempt of one job. Rejects only when the worker or the data could never be used. */
export async function runHandler<Data, Result, Resources>(
  worker: WorkerDefinition<Data, Result, Resources>,
  data: unknown,
  options: RunHandlerOptions = {},
): Promise<HandlerRun<Result>> {
  assertDefinitions([worker]);
  payloadBytes(worker.queue, data, BYTES_MAX);
  const logs: Record<string, unknown>[] = [];
  const enqueued: HandlerRun['enqueued'] = [];
  const progress: JobProgress[] = [];
  const isOwnSetup = !('resources' in options);
  const resources = isOwnSetup
    ? await worker.setup?.(options.config ?? loadConfig().config, {
        queues: options.queues ?? [worker.queue],
      })
    : options.resources;
  const deps: RunDeps = {
    clock: systemClock,
    log: pino({ level: 'trace', base: null, timestamp: false }, { write: keep(logs) }),
    client: { enqueue: enqueueInto(enqueued, options.enqueue) },
    hooks: new HookCaller({}, pino({ level: 'silent' }), systemClock),
    resources: () => resources,
    resultBytesMax: options.resultBytesMax ?? BYTES_MAX,
    unknownJobGraceMs: 0,
    onOverdue: (run) => run.abandon(),
  };
  const { job, lines } = memoryJob({
    queue: worker.queue,
    name: options.name ?? firstName(worker),
    data: asStored(data) ?? {},
    id: options.id ?? 'test-job',
    options: options.options ?? {},
    attemptsMade: (options.attempt ?? 1) - 1,
    children: options.children ?? {},
  });
  const definition = { ...worker, unknownJobGrace: options.unknownJobGrace ?? 0 };
  const run = new Run(definition as WorkerDefinition, job, deps);
  listen(run, progress);
  follow(run, options.signal);
  let outcome: Outcome;
  try {
    outcome = await perform(run, deps);
  } finally {
    if (isOwnSetup && worker.setup) await worker.teardown?.(resources as Resources);
  }
  return {
    outcome: outcome.type === 'failed' && !outcome.isFinal ? 'retried' : outcome.type,
    result: outcome.type === 'completed' ? (asStored(outcome.result) as Result) : undefined,
    error: 'error' in outcome ? outcome.error : undefined,
    delayMs: 'delayMs' in outcome ? outcome.delayMs : undefined,
    logs,
    jobLogs: lines,
    progress,
    enqueued,
    data: job.data,
  };
}

function firstName<D, R, S>(worker: WorkerDefinition<D, R, S>): string {
  return Object.keys(worker.handlers ?? {})[0] ?? worker.queue;
}

function asStored(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

function keep(logs: Record<string, unknown>[]): (line: string) => void {
  return (line) => void logs.push(JSON.parse(line));
}

function enqueueInto(
  enqueued: HandlerRun['enqueued'],
  answer: RunHandlerOptions['enqueue'],
): RunDeps['client']['enqueue'] {
  return async (queue, name, data, options = {}) => {
    payloadBytes(queue, data, BYTES_MAX);
    const job = { queue, name, data: asStored(data), options };
    const accepted = (await answer?.(job)) ?? {
      id: options.jobId ?? `enqueued-${enqueued.length + 1}`,
      stored: 'redis' as const,
    };
    enqueued.push({ ...job, id: accepted.id });
    return accepted;
  };
}

/** Every value that the handler told, also those that the service would leave out as overtaken. */
function listen(run: Run, progress: JobProgress[]): void {
  const tell = run.notes.progress.bind(run.notes);
  run.notes.progress = (value) => {
    progress.push(value);
    return tell(value);
  };
}

function follow(run: Run, signal: AbortSignal | undefined): void {
  if (!signal) return;
  const abort = () => run.abort(signal.reason);
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
}
