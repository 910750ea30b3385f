/**
 * One Redis as the service sees it: its connections, its breaker, and the backend factory that
 * BullMQ's Worker, Queue and FlowProducer are built with. Shared by all queues of the process.
 */
import type { BackendFactory, ConnectionOptions, RedisQueueBackend } from 'bullmq';

export interface TargetState {
  breaker: 'closed' | 'open' | 'half-open' | 'isolated';
  /** Why it is not closed; a name of the condition catalogue. */
  condition: string | undefined;
  outageId: string | undefined;
  /** ms since the epoch at which the state began */
  since: number;
}

export interface RedisTarget {
  /** Third or fourth argument of BullMQ's constructors. */
  readonly backendFactory: BackendFactory<RedisQueueBackend>;
  /** BullMQ's `connection` option; an opaque value that only `backendFactory` reads. */
  readonly connection: ConnectionOptions;
  state(): TargetState;
  onChange(listener: (state: TargetState) => void): () => void;
  /** Begins to connect; resolves at once, whatever Redis does. */
  start(): Promise<void>;
  stop(deadline: number): Promise<void>;
}
