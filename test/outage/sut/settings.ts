/**
 * What the matrix tells a worker program, in one environment variable: the worker process is the system
 * under test, so that it can be killed, stopped and started like the real one.
 */
import type { RedisConfig } from '../../../src/config.ts';

export interface WorkerSettings {
  workerId: string;
  /** How to reach Redis; through the row's proxy where there is one. */
  redis: Pick<RedisConfig, 'url'> & Partial<RedisConfig>;
  dataDir: string;
  /** The file that every run of every worker is appended to. */
  ledger: string;
  /** Queues and their slots in this process. */
  queues: Readonly<Record<string, number>>;
  lockDurationMs: number;
  stalledIntervalMs: number;
  /** Ms that running jobs get at SIGTERM. */
  shutdownGraceMs: number;
  /** What a run does when this process alone is cut off past its lock. */
  onLeaseLost: 'continue' | 'abort';
}

export function readSettings(): WorkerSettings {
  return JSON.parse(process.env.OUTAGE_WORKER ?? '{}') as WorkerSettings;
}

/** What a job of the matrix does, carried in its data. */
export interface Work {
  /** How long it runs, ms. */
  ms: number;
  /** The first attempts fail, so many. */
  fails?: number;
  /** Blocks the event loop for this long before it ends, ms. */
  blockMs?: number;
  /** Comes back in the return value. */
  value: string;
}

/** Between two reports of a running job, ms. */
export const STEP_MS = 500;

/** Steps that a run of this length reports. */
export function stepsOf(work: Work): number {
  return Math.max(1, Math.floor(work.ms / STEP_MS));
}
