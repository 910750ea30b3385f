/** What a backend is made with: whom it serves, and the options of BullMQ's that matter to it. Types only. */
import type { QueueBaseOptions } from 'bullmq';

/**
 * Who the backend serves: a worker or a listener waits for Redis, a producer wants an answer, and so does a
 * reader, to whose queue this process owes nothing. A node is a producer of one job of a flow: BullMQ makes
 * one for each and closes none.
 */
export type BackendRole = 'worker' | 'listener' | 'producer' | 'reader' | 'node';

/** What Worker, Queue and FlowProducer pass to their backend, as far as it matters here. */
export type BackendOptions = QueueBaseOptions & {
  prefix?: string;
  lockDuration?: number;
  stalledInterval?: number;
  concurrency?: number;
};
