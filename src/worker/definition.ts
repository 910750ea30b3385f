/**
 * What a file in `workers/` exports: the handler of a queue and how to run it. Types only, and
 * `defineWorker`, the identity function that brings them to plain objects.
 */

import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Job, JobProgress, JobsOptions } from 'bullmq';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';

/** What a handler is given besides its job. `Resources` is what `setup()` returned. */
export interface HandlerContext<Resources = unknown> {
  /** Aborts on timeout, lost lock, or the end of the shutdown grace; `reason` is a typed error. */
  readonly signal: AbortSignal;
  /** A child logger that already carries queue, job id, name and attempt. */
  readonly log: Logger;
  /** Tells how far the job is; a number, string or object. Never throws, never waits for Redis. */
  progress(value: JobProgress): Promise<void>;
  /** Adds another job; resolves with its id once it is kept. */
  enqueue(
    queue: string,
    name: string,
    data: unknown,
    options?: JobsOptions,
  ): Promise<{ id: string; stored: 'redis' | 'journal' }>;
  /** Throw the result: the job goes back to delayed for `delayMs`, without burning an attempt. */
  retryAfter(delayMs: number): never;
  /** Fails the job for good: no more attempts. */
  fail(reason: string): never;
  /** What `setup()` returned: a pool, a client. */
  readonly resources: Resources;
}

// biome-ignore lint/suspicious/noExplicitAny: the data of a plain definition is the author's to know.
export type Handler<Data = any, Result = unknown, Resources = any> = (
  // biome-ignore lint/suspicious/noExplicitAny: an earlier result does not bind this one.
  job: Job<Data, any>,
  ctx: HandlerContext<Resources>,
) => Promise<Result> | Result;

export interface Retention {
  /** Seconds to keep a finished job. */
  age?: number;
  /** Finished jobs to keep at most. */
  count?: number;
}

/** What `setup()` is told of the service, besides its frozen configuration. */
export interface ServiceFacts {
  /** All queues that its handlers name, also those that QUEUES leaves to other replicas. */
  readonly queues: readonly string[];
}

interface WorkerCommon<Data, Resources> {
  /** The BullMQ queue that the handler consumes. */
  queue: string;
  /** Jobs run at the same time by one replica. Default: CONCURRENCY. */
  concurrency?: number;
  /** Any Standard Schema (zod, valibot, arktype …) for the job's data. */
  schema?: StandardSchemaV1<unknown, Data>;
  /** Milliseconds after which the signal aborts and the attempt fails. Default: none. */
  timeout?: number;
  /** Attempts for jobs that set none. Default: 1. */
  attempts?: number;
  /** Backoff between attempts for jobs that set none. */
  backoff?: JobsOptions['backoff'];
  /** BullMQ's rate limiter: at most `max` jobs per `duration` ms over all replicas. */
  limiter?: { max: number; duration: number };
  /**
   * For handlers that call a service: after `failures` failed attempts in a row the queue is not fetched
   * by this replica for `openFor` ms, then one job is tried. No attempt is burnt meanwhile.
   */
  breaker?: { failures: number; openFor: number };
  /** What is kept of finished jobs that do not say themselves. */
  retention?: { completed?: Retention; failed?: Retention };
  /** Ms for which data that fails the schema, or an unknown name, is put off first. Default 10 min. */
  unknownJobGrace?: number;
  /**
   * When this replica alone lost its lock: `continue` (default) lets the run go on and drops its
   * outcome if another worker took the job; `abort` fires the signal before the lock can expire.
   */
  onLeaseLost?: 'continue' | 'abort';
  /**
   * While Redis is away, jobs that this replica accepted run from its journal, and appear in Redis
   * afterwards. Default: they wait. Not for queues with a pause or a limit over all replicas.
   */
  island?: boolean;
  /** Once per process before the first job: opens what handlers share. */
  setup?(config: Config, service: ServiceFacts): Promise<Resources> | Resources;
  /** After the drain: closes what `setup` opened. */
  teardown?(resources: Resources): Promise<void> | void;
}

/** A worker has one handler for every job of its queue, or one for each job name. */
// biome-ignore lint/suspicious/noExplicitAny: the data of a plain definition is the author's to know.
export type WorkerDefinition<Data = any, Result = any, Resources = any> = WorkerCommon<
  Data,
  Resources
> &
  (
    | { handler: Handler<Data, Result, Resources>; handlers?: never }
    | { handlers: Record<string, Handler<Data, Result, Resources>>; handler?: never }
  );

/** The identity function, with types: a plain object of the same shape does as well. */
// biome-ignore lint/suspicious/noExplicitAny: the data of a plain definition is the author's to know.
export function defineWorker<Data = any, Result = unknown, Resources = undefined>(
  definition: WorkerDefinition<Data, Result, Resources>,
): WorkerDefinition<Data, Result, Resources> {
  return definition;
}
