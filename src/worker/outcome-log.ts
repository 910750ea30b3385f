/**
 * One line per outcome of a run, for people and machines: which job, how it ended, how long it waited
 * and ran. Never the job's data, never its result.
 */
import type { Job } from 'bullmq';
import type { Logger } from 'pino';
import { errorCodeOf } from './outcome.ts';

/** What the line says of the run's end, beyond the job itself. */
export interface OutcomeLine {
  event: string;
  outcome: string;
  level: 'info' | 'warn' | 'error';
  attempt: number;
  attemptsMax: number;
  durationMs: number | undefined;
  waitMs: number | undefined;
  /** Of the run; else the one that the job carries. */
  traceId: string | undefined;
  error?: Error | undefined;
  delayMs?: number | undefined;
}

/** A message is for reading; the whole of it stands with the job in Redis. */
const MESSAGE_CHARS_MAX = 1000;

export function logOutcome(log: Logger, queue: string, job: Job, line: OutcomeLine): void {
  const { level, error } = line;
  if (!log.isLevelEnabled(level)) return;
  log[level](
    {
      event: line.event,
      queue,
      jobName: job.name,
      jobId: job.id,
      attempt: line.attempt,
      attemptsMax: line.attemptsMax,
      outcome: line.outcome,
      waitMs: line.waitMs,
      durationMs: line.durationMs === undefined ? undefined : Math.round(line.durationMs),
      delayMs: line.delayMs,
      errorCode: error && errorCodeOf(error),
      error: error?.message.slice(0, MESSAGE_CHARS_MAX),
      // The stack of a job that ended is the beginning of somebody's search.
      stack: level === 'error' ? error?.stack?.slice(0, 4 * MESSAGE_CHARS_MAX) : undefined,
      traceId: line.traceId ?? traceIdOf(job),
    },
    `${queue} ${job.name} ${line.outcome}`,
  );
}

/** From when the job was due until it was taken, ms; of later attempts only Redis knows when. */
export function waitMsOf(job: Job): number | undefined {
  if (job.processedOn === undefined || job.attemptsStarted > 1) return undefined;
  return Math.max(0, job.processedOn - job.timestamp - (job.opts.delay ?? 0));
}

/** From the W3C trace context that BullMQ's telemetry keeps with the job. */
export function traceIdOf(job: Job): string | undefined {
  const metadata = job.opts.telemetry?.metadata;
  if (typeof metadata !== 'string') return undefined;
  return /\b00-([0-9a-f]{32})-[0-9a-f]{16}-/.exec(metadata)?.[1];
}
