/** A BullMQ Worker for a definition, with the options that this service stands for, and its errors told. */
import {
  type Job,
  type KeepJobs,
  type RedisQueueBackend,
  type Telemetry,
  Worker,
  type WorkerOptions,
} from 'bullmq';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { RedisTarget } from '../queue/target.ts';
import type { Clock, Instant } from '../time.ts';
import type { WorkerDefinition } from './definition.ts';

export type BullWorker = Worker<unknown, unknown, string, RedisQueueBackend>;

export interface BullWorkerDeps {
  target: Pick<RedisTarget, 'backendFactory' | 'connection'>;
  config: Pick<
    Config,
    'replica' | 'redis' | 'concurrency' | 'lockDurationMs' | 'stalledIntervalMs' | 'retention'
  >;
  log: Logger;
  telemetry?: Telemetry | undefined;
}

/** A backoff of a name that BullMQ does not know would leave the job active for ever: this, ms. */
const UNKNOWN_BACKOFF_MS = 1000;
/** BullMQ's errors of the connection are the target's to tell; here one line in this time, ms. */
const ERROR_QUIET_MS = 10_000;
/** BullMQ 6.7's words for a job that it drops, since it cannot make the next run of its schedule. */
const STUCK = 'Failed to add repeatable job for next iteration: ';
/** Such a job comes again and again, once its lock has run out; here one line in this time, ms. */
const STUCK_QUIET_MS = 10 * 60_000;

/** It takes no job before `run()`. */
export function createBullWorker(
  definition: WorkerDefinition,
  concurrency: number,
  { target, config, log, telemetry }: BullWorkerDeps,
  perform: (job: Job, token: string | undefined) => Promise<unknown>,
): BullWorker {
  const { queue, limiter, retention } = definition;
  const backoffStrategy = (attempts: number, type?: string): number => {
    log.warn(
      { event: 'job.backoff_unknown', queue },
      `a job asks for backoff "${type}", which this service does not know; it is retried after ${UNKNOWN_BACKOFF_MS} ms times its attempts`,
    );
    return attempts * UNKNOWN_BACKOFF_MS;
  };
  const options: WorkerOptions = {
    connection: target.connection,
    prefix: config.redis.prefix,
    name: config.replica,
    autorun: false,
    concurrency,
    lockDuration: config.lockDurationMs,
    stalledInterval: config.stalledIntervalMs,
    removeOnComplete: keptJobs(retention?.completed, config.retention.completed),
    removeOnFail: keptJobs(retention?.failed, config.retention.failed),
    settings: { backoffStrategy },
    ...(limiter ? { limiter } : {}),
    ...(telemetry ? { telemetry } : {}),
  };
  return new Worker(
    queue,
    // Two parameters: BullMQ would make a signal for a third, which only we could abort.
    (job: Job, token: string | undefined) => perform(job, token),
    options,
    target.backendFactory,
  ) as unknown as BullWorker;
}

/** A worker that sets one limit keeps the other: without it BullMQ would keep everything. */
export function keptJobs(
  own: { age?: number | undefined; count?: number | undefined } | undefined,
  byConfig: { age: number; count: number },
): KeepJobs {
  return { age: own?.age ?? byConfig.age, count: own?.count ?? byConfig.count };
}

/** What BullMQ emits as errors of a queue's Worker, in few lines. */
export class BullErrors {
  readonly #queue: string;
  readonly #log: Logger;
  readonly #clock: Clock;
  #loggedAt: Instant = Number.NEGATIVE_INFINITY;
  #stuckAt: Instant = Number.NEGATIVE_INFINITY;
  #unlogged = 0;

  constructor(queue: string, log: Logger, clock: Clock) {
    this.#queue = queue;
    this.#log = log;
    this.#clock = clock;
  }

  readonly tell = (error: Error): void => {
    const now = this.#clock.now();
    if (error.message.startsWith(STUCK)) this.#tellStuck(error.message.slice(STUCK.length), now);
    if (now - this.#loggedAt < ERROR_QUIET_MS) {
      this.#unlogged += 1;
      return;
    }
    this.#log.debug(
      {
        event: 'worker.error',
        queue: this.#queue,
        error: error.message,
        unlogged: this.#unlogged,
      },
      `BullMQ reports: ${error.message}`,
    );
    this.#loggedAt = now;
    this.#unlogged = 0;
  };
  #tellStuck(why: string, now: Instant): void {
    if (now - this.#stuckAt < STUCK_QUIET_MS) return;
    this.#stuckAt = now;
    this.#log.warn(
      { event: 'schedules.stuck', queue: this.#queue, error: why },
      `a schedule cannot go on here (${why}): its present run is not begun and waits for a worker that knows the pattern; correct it, or remove the schedule and its run`,
    );
  }
}
