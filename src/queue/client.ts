/**
 * The producer's side: what adds jobs and asks for their state. Handlers, HTTP and the command line
 * all enqueue through this one interface.
 */
import type { JobsOptions } from 'bullmq';

/** Where an accepted job is kept. */
export type Stored = 'redis' | 'journal';

export interface Accepted {
  id: string;
  stored: Stored;
}

/** A job as people and other services see it. */
export interface JobView {
  id: string;
  queue: string;
  name: string;
  /** BullMQ's state, or `journaled` while only the journal has it. */
  state: string;
  progress: unknown;
  result: unknown;
  failedReason: string | undefined;
  attemptsMade: number;
  /** ms since the epoch */
  createdAt: number;
  startedAt: number | undefined;
  finishedAt: number | undefined;
}

export interface Client {
  /**
   * Adds a job and resolves once it is kept. The id is the caller's `options.jobId`, else a UUIDv7.
   * @throws JobTooLargeError, QueueNameError, RedisUnavailableError
   */
  enqueue(queue: string, name: string, data: unknown, options?: JobsOptions): Promise<Accepted>;
  enqueueMany(
    queue: string,
    jobs: readonly { name: string; data: unknown; options?: JobsOptions }[],
  ): Promise<Accepted[]>;
  /** Adds a parent with its children, all or none; resolves with the parent's id. */
  flow(flow: FlowInput): Promise<Accepted>;
  job(queue: string, id: string): Promise<JobView | undefined>;
  /** Waiting, active, delayed, completed, failed … of a queue. */
  counts(queue: string): Promise<Record<string, number>>;
  close(): Promise<void>;
}

export interface FlowInput {
  queue: string;
  name: string;
  data: unknown;
  options?: JobsOptions;
  children?: FlowInput[];
}
