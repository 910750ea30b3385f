/**
 * What the command line can do with jobs, whichever way it reaches them: through a running service
 * or straight through Redis. Types only.
 */
import type { JobInput } from '../http/job-input.ts';
import type { Accepted, JobView } from '../queue/client.ts';
import type { FleetView } from '../queue/fleet-view.ts';

export interface QueueCounts {
  queue: string;
  /** This replica takes jobs of it; undefined when only Redis was asked. */
  isConsuming?: boolean | undefined;
  reason?: string | undefined;
  /** An operator paused it; undefined when that is not known. */
  isPaused?: boolean | undefined;
  /** null: Redis is away. */
  counts: Record<string, number> | null;
}

export interface Route {
  /** For messages: "the service at http://…", "Redis at redis://…". */
  readonly name: string;
  /** All or, when it rejects, none that is known of. Ids are set by the caller: safe to repeat. */
  enqueue(queue: string, jobs: readonly JobInput[], allowUnknown: boolean): Promise<Accepted[]>;
  /** @throws RedisUnavailableError, NothingReachableError: both may pass */
  job(queue: string, id: string): Promise<JobView | undefined>;
  /** The document that the job wrote, if this route can see it. */
  document(queue: string, id: string): Promise<string | undefined>;
  queues(): Promise<QueueCounts[]>;
  /** Why `queues` may have missed some; undefined when it has not. */
  readonly unlisted?: string | undefined;
  /** The replicas of the fleet, as far as this route can see them. */
  replicas(): Promise<FleetView>;
  close(): Promise<void>;
}
