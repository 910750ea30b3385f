/**
 * The producer's side: what adds jobs and asks for their state. Handlers, HTTP and the command line
 * all enqueue through this one interface.
 */
import type { JobsOptions, Queue, QueueOptions } from 'bullmq';
import type { QueueDefinition } from './queue-definition.ts';

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
  /**
   * BullMQ's state, also of a job that runs from the journal; `journaled` of another while only the journal
   * has it; `refused` if Redis refused it for good and the
   * journal keeps it for a person.
   */
  state: string;
  /** Who has it: `journal` while it is on its way to Redis, or was refused there. */
  stored: Stored;
  progress: unknown;
  /** Null where there is none. */
  result: unknown;
  /** Why the job failed, or why Redis refused it. */
  failedReason: string | undefined;
  attemptsMade: number;
  /** ms since the epoch */
  createdAt: number;
  startedAt: number | undefined;
  finishedAt: number | undefined;
}

export interface Client {
  /**
   * Adds a job and resolves once it is kept, in Redis or, while Redis is away or slow, in the journal.
   * The id is the caller's `options.jobId`, else a UUIDv7. Of a deduplicated job that Redis took it is
   * the id of the job that was there.
   * @throws JobTooLargeError, QueueNameError, InvalidInputError, JournalFullError, JournalError,
   *   OutcomeUnknownError
   */
  enqueue(queue: string, name: string, data: unknown, options?: JobsOptions): Promise<Accepted>;
  /** A queue of `defineQueue`: its data is checked, by type and against its schema. */
  enqueue<Data>(queue: QueueDefinition<Data>, data: Data, options?: JobsOptions): Promise<Accepted>;
  /** All of one queue, in order; what goes to the journal is kept whole or not at all. */
  enqueueMany(
    queue: string,
    jobs: readonly { name: string; data: unknown; options?: JobsOptions }[],
  ): Promise<Accepted[]>;
  /** Adds a parent with its children, all or none; resolves with the parent's id. */
  flow(flow: FlowInput): Promise<Accepted>;
  /**
   * BullMQ's own Queue, whose `add` and `addBulk` are kept as `enqueue` keeps. Owned by the client, whose
   * connection and prefix it has.
   * @throws QueueNameError, InvalidInputError, ClientClosedError
   */
  queue(name: string, options?: ClientQueueOptions): Queue;
  /** @throws RedisUnavailableError, JournalError, InvalidInputError */
  job(queue: string, id: string): Promise<JobView | undefined>;
  /** Waiting, active, delayed, completed, failed … of a queue. @throws RedisUnavailableError */
  counts(queue: string): Promise<Record<string, number>>;
  /**
   * While Redis is there, it is given what the journal has, for as long as an enqueue may take; tells what is left
   * then, and where.
   */
  close(): Promise<Left>;
}

/** Of BullMQ's QueueOptions, what is not the client's. */
export type ClientQueueOptions = Pick<QueueOptions, 'defaultJobOptions'>;

/** What a closed client left in its journal for the next one with the same folder. */
export interface Left {
  /** Accepted jobs that Redis may not have. */
  jobs: number;
  /** Entries that Redis refused for good, kept for a person. */
  refused: number;
  /** The journal's folder; undefined in memory. */
  path: string | undefined;
}

export interface FlowInput {
  queue: string;
  name: string;
  data: unknown;
  options?: JobsOptions;
  children?: FlowInput[];
}
