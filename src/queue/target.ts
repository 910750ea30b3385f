/**
 * One Redis as the service sees it: its connections, its breaker, and the backend factory that
 * BullMQ's Worker, Queue and FlowProducer are built with. Shared by all queues of the process.
 */
import type { BackendFactory, ConnectionOptions, RedisQueueBackend } from 'bullmq';
import type { FoundJob, Journal } from '../journal/journal.ts';
import type { LocalRun } from './local-run.ts';

export interface TargetState {
  breaker: 'closed' | 'open' | 'half-open' | 'isolated';
  /** Why it is not closed; a name of the condition catalogue. */
  condition: string | undefined;
  /** The last error that said so, without secrets. */
  evidence?: string;
  outageId: string | undefined;
  /** When it closed; while it is not closed, when the outage began. ms since the epoch */
  since: number;
}

/**
 * A lock that was `lost` to another worker, or is `expiring` while Redis is away, or an outcome that is
 * `dropped` because the job was another's when it was to be recorded.
 */
export interface LockEvent {
  type: 'lost' | 'expiring' | 'dropped';
  prefix: string;
  queue: string;
  jobId: string;
  token: string;
}

export interface RedisTarget {
  /** Third or fourth argument of BullMQ's constructors. */
  readonly backendFactory: BackendFactory<RedisQueueBackend>;
  /**
   * As `backendFactory`, for a Queue or FlowProducer whose jobs are kept whatever Redis does: in the
   * journal while it is away; with DURABILITY=strict in the journal first, always.
   */
  readonly producerFactory: BackendFactory<RedisQueueBackend>;
  /** As `backendFactory`, for a Queue that only asks: the queue leaves no trace here or in Redis. */
  readonly readerFactory: BackendFactory<RedisQueueBackend>;
  /** Where accepted jobs wait for Redis. */
  readonly journal: Pick<Journal, 'stats' | 'path'>;
  /** BullMQ's `connection` option; an opaque value that only `backendFactory` reads. */
  readonly connection: ConnectionOptions;
  state(): TargetState;
  onChange(listener: (state: TargetState) => void): () => void;
  /** Tells of locks; whoever runs the handlers aborts the run. Returns how to stop listening. */
  onLock(listener: (event: LockEvent) => void): () => void;
  /** Tells the record of an outage at its start and at its end. Returns how to stop listening. */
  onOutage(listener: (outage: Readonly<Record<string, unknown>>) => void): () => void;
  /** What a run of the queue does when this process alone is cut off past its lock. */
  setLeasePolicy(queue: string, policy: 'continue' | 'abort'): void;
  /** While Redis is away, jobs of the queue run here from the journal. */
  setIsland(queue: string): void;
  /** So many jobs of the queue may run here at the same time, 0 for none; undefined lifts the limit. */
  limitSlots(queue: string, slots: number | undefined): void;
  /** A run of a job that was taken with this token begins: its lock is kept until it ends. */
  began(queue: string, jobId: string, token: string): void;
  /**
   * Monotonic ms since the last answer to a request for work of the queue; negative while that answer's rate
   * limit lasts. The wedge detector asks.
   */
  sinceTakeAnsweredMs(queue: string): number;
  /** Why nobody takes jobs of the queue here, whose data in Redis is broken. */
  setAside(queue: string): string | undefined;
  /** Jobs that the queue may run here at the same time now: shows the slow start. */
  allowedConcurrency(queue: string): number;
  /** An accepted job that Redis does not have, as far as this process knows. @throws JournalError */
  journaled(queue: string, jobId: string): Promise<FoundJob | undefined>;
  /** How a job stands that runs, or ran, from the journal here, while Redis does not have it. */
  localRun(entry: FoundJob): Promise<LocalRun | undefined>;
  /** An operator opens the breaker by hand, and may say why; it stays open until `release`. */
  isolate(reason?: string): void;
  /** The operator's opening ends: Redis is connected to again. Nothing happens without one. */
  release(): void;
  /** Begins to connect; resolves at once, whatever Redis does. */
  start(): Promise<void>;
  stop(deadline: number): Promise<void>;
}
