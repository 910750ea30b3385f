/**
 * What the routes are given: the parts of the service that HTTP shows or feeds. Types only.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { JournalStats } from '../journal/contract.ts';
import type { StoredOutage } from '../outage/archive.ts';
import type { Client } from '../queue/client.ts';
import type { Warning } from '../queue/early-warnings.ts';
import type { FleetView } from '../queue/fleet-view.ts';
import type { RedisTarget } from '../queue/target.ts';
import type { Exposition } from '../telemetry/metrics.ts';
import type { Tracing } from '../telemetry/tracing.ts';
import type { Access } from './access.ts';

/** One queue that a handler in `workers/` names. */
export interface QueueConsumption {
  queue: string;
  /** This replica takes jobs of it now. */
  isConsuming: boolean;
  /** Why not, when it does not: `not in QUEUES`, `quiet`, `paused`, `redis away` … */
  reason?: string | undefined;
  /** It takes nothing although it should, and only a new process helps. */
  isStuck?: boolean | undefined;
  /** Jobs that run here now, and that may. */
  running?: number;
  concurrency?: number;
  /** Jobs that ended here for good since the start. */
  finished?: number;
}

/** What this replica's workers do, as the composition root sees it. */
export interface Consumption {
  /** Every part has been started. */
  isStarted: boolean;
  isStopping: boolean;
  /** All queues that `workers/` names, also those that QUEUES leaves to other replicas. */
  queues: readonly QueueConsumption[];
}

/** Whether accepted jobs can be kept while Redis is away. */
export interface Keeping {
  canKeep: boolean;
  /** Why not: full, unusable, not built in. */
  reason?: string | undefined;
}

export interface HttpContext {
  config: Config;
  client: Client;
  /** Its state, and an operator's way to open and release its breaker by hand. */
  target: Pick<RedisTarget, 'state' | 'isolate' | 'release'>;
  consumption: () => Consumption;
  /** The connection, for small reads; undefined while Redis is away. */
  redis: () => Redis | Cluster | undefined;
  /** Has what only Redis knows of the queues looked at, if that is long ago. Never fails, never waits long. */
  look: () => Promise<void>;
  /** The journal's side of readiness; absent: jobs are kept in Redis only. */
  keeping: () => Keeping;
  /** This replica and the others. Never waits long, never fails because Redis is away. */
  replicas: () => Promise<FleetView>;
  /** What may become an outage. */
  warnings: () => readonly Warning[];
  /** Records of outages, newest first. */
  outages: () => Promise<readonly StoredOutage[]>;
  /**
   * Records of an outage that the fleet's replicas put into Redis; `problem`: why there are none. Never
   * waits long, never fails.
   */
  fleetOutages: (fleetId: string) => Promise<{ outages: StoredOutage[]; problem?: string }>;
  /** What waits in the journal; absent without one. */
  journal: (() => JournalStats) | undefined;
  /** What a scraper with this Accept header gets. Never waits for Redis. */
  metrics: (accept: string | undefined) => Promise<Exposition>;
  /** Goes on in the trace that the caller's headers tell; absent where no traces are made. */
  traced: Tracing['continued'] | undefined;
  access: Access;
  log: Logger;
  /** Aborts when the server begins to stop: streams end. */
  stopping: AbortSignal;
}
