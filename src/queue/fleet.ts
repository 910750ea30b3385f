/**
 * Who is in the fleet: each replica keeps one small key with a TTL below the queue prefix and its
 * name in an index, so that whoever asks sees all of them. A replica that died vanishes with its key.
 *
 * For eyes only: nothing is decided by it, it opens no breaker, and nobody waits for it. The fleet's
 * barrier and backoff go by the heartbeats of `heartbeat.ts`.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { Part } from '../part.ts';
import type { Clock, Instant } from '../time.ts';
import {
  type FleetView,
  fleetView,
  type Replica,
  type ReplicaSelf,
  readFleet,
  replicaKey,
  replicasKey,
} from './fleet-view.ts';

/** Two commands each: 0.2 commands/s for an idle replica. */
const BEAT_MS = 10_000;
/** A replica that is silent for three beats is gone. */
export const REPLICA_TTL_MS = 3 * BEAT_MS;
/** What changed here is told after this time at most, ms; looking costs no command. */
const LOOK_MS = 1000;
/** Names of the dead leave the index every so many beats. */
const TIDY_EVERY_BEATS = 30;
/** A name that gave no sign of life for this time leaves the index, ms. */
const INDEX_KEEP_MS = 3_600_000;
/** Redis is not waited for longer than this when a replica says farewell, or is asked, ms. */
const CALL_MS = 2000;
const FAREWELL_MS = 500;
/** The page of every operator asks again and again: a list this young is given again, ms. */
const FRESH_MS = 1000;

export interface FleetOptions {
  /** Identifies this life of this process. */
  id: string;
  /** BullMQ's key prefix. */
  prefix: string;
  /** The present connection; undefined while the breaker is not closed. */
  redis: () => Redis | Cluster | undefined;
  /** What this replica is now. */
  describe: () => ReplicaSelf;
  log: Logger;
  clock: Clock;
}

export class Fleet implements Part {
  readonly name = 'fleet';
  readonly #options: FleetOptions;
  #cancel: (() => void) | undefined;
  #beats = 0;
  #beatAt = Number.NEGATIVE_INFINITY;
  /** What was told last, without what changes with every job. */
  #told = '';
  #isStopped = false;
  #hasComplained = false;
  /** Others as they were seen last, and when. */
  #seen: { replicas: Replica[]; at: Instant; wall: number } | undefined;
  #reading: Promise<void> | undefined;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#look();
  }

  /** Told at once: what is stopping may be gone before the next look. */
  changed(): void {
    this.#cancel?.();
    this.#look();
  }

  async stop(deadline: Instant): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#cancel?.();
    const { id, prefix, redis, clock } = this.#options;
    const client = redis();
    if (!client) return;
    const gone = [client.del(replicaKey(prefix, id)), client.zrem(replicasKey(prefix), id)];
    await this.#atMost(gone, Math.min(FAREWELL_MS, deadline - clock.now()));
  }

  /** This replica as it is now, and the others as far as they can be known. */
  async view(): Promise<FleetView> {
    const self = this.#self();
    if (!this.#options.redis()) return fleetView(self, this.#seen, false, self.condition);
    const { clock } = this.#options;
    if (!this.#seen || clock.now() - this.#seen.at > FRESH_MS) {
      this.#reading ??= this.#read().finally(() => {
        this.#reading = undefined;
      });
      await this.#atMost([this.#reading], CALL_MS);
    }
    const isFresh = this.#seen !== undefined && clock.now() - this.#seen.at <= CALL_MS;
    return fleetView(self, this.#seen, isFresh, this.#self().condition ?? 'timeout');
  }

  async #read(): Promise<void> {
    const { clock, redis, prefix } = this.#options;
    const client = redis();
    if (!client) return;
    const replicas = await readFleet(client, prefix);
    this.#seen = { replicas, at: clock.now(), wall: clock.wall() };
  }

  #self(): Replica {
    const { id, describe, clock } = this.#options;
    return { id, ...describe(), seenAt: new Date(clock.wall()).toISOString() };
  }

  #look(): void {
    if (this.#isStopped) return;
    const { clock, redis, describe } = this.#options;
    if (redis()) {
      const { state, reason, http } = describe();
      const telling = JSON.stringify([state, reason, http]);
      if (telling !== this.#told || clock.now() - this.#beatAt >= BEAT_MS) {
        this.#told = telling;
        this.#beatAt = clock.now();
        void this.#beat();
      }
    }
    this.#cancel = clock.after(LOOK_MS, () => this.#look());
  }

  async #beat(): Promise<void> {
    const { id, prefix, redis, log, clock } = this.#options;
    const client = redis();
    if (!client) return;
    const now = clock.wall();
    const index = replicasKey(prefix);
    try {
      const sent: Promise<unknown>[] = [
        client.set(replicaKey(prefix, id), JSON.stringify(this.#self()), 'PX', REPLICA_TTL_MS),
        client.zadd(index, now, id),
      ];
      if (this.#beats % TIDY_EVERY_BEATS === 0) {
        // Clocks of hosts differ: only what is long dead goes.
        sent.push(client.zremrangebyscore(index, '-inf', now - INDEX_KEEP_MS));
        sent.push(client.pexpire(index, INDEX_KEEP_MS));
      }
      this.#beats += 1;
      await Promise.all(sent);
    } catch (error) {
      // An outage tells of itself. What remains is a user who may not write these keys.
      if (this.#hasComplained || !redis()) return;
      this.#hasComplained = true;
      log.warn(
        { event: 'fleet.unregistered', err: error },
        'this replica cannot enter itself in the list of replicas; it works all the same',
      );
    }
  }

  /** Late or broken, neither is waited for. */
  async #atMost(work: readonly Promise<unknown>[], waitMs: number): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(Math.max(0, waitMs), resolve);
    await Promise.race([late, Promise.allSettled(work)]);
    cancel();
  }
}
