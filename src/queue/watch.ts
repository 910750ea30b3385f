/**
 * Watches one generation: its sockets, its pulse, and our own event loop. Says what it sees; what that
 * means for the breaker is the target's to decide.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { ConditionName } from '../redis/condition-catalogue.ts';
import { conditionInUse, conditionOf } from '../redis/conditions.ts';
import { createRedisClient } from '../redis/connect.ts';
import { Pulse } from '../redis/pulse.ts';
import type { Clock } from '../time.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';
import { fencedReason } from './lua/fence.ts';
import { Scout } from './scout.ts';

export interface WatchOptions {
  clock: Clock;
  log: Logger;
  config: Pick<Config, 'redis' | 'resilience'>;
  ledgers(): Iterable<QueueLedger>;
  /** One round trip on the command connection; resolves with the server's wall clock, ms. */
  ask(generation: Generation): Promise<number>;
  /** Monotonic instant by which it is asked whatever was heard meanwhile. */
  askBy(): number;
  /** Whether the fleet's budget has room for one more connection of this replica. */
  mayScout(): boolean;
  /** Something went wrong on a connection of the generation. */
  onError(error: unknown, generation: Generation): void;
  /** What was silent for longer than it may does answer, if late; `tookMs` at the least. */
  onLate(tookMs: number): void;
}

/** Jobs that are named when the event loop was blocked: one of them did it. */
const BLOCKED_JOBS_MAX = 20;

/** An answer that takes longer than this beyond the verdict is not waited for, ms. */
const LATE_MS = 3000;

/** Jobs that were settled so lately may have blocked the loop, ms. */
const JUST_SETTLED_MS = 500;

export class Watch {
  /** Milliseconds of the last round trip. */
  roundTripMs = 0;
  /** When the server was last heard on the command connection, monotonic ms. */
  answeredAt = 0;
  readonly #options: WatchOptions;
  #pulse: Pulse | undefined;
  #scout: Scout | undefined;
  /** The scout that had no answer yet when the pulse was missed, and hears of a late one. */
  #lateScout: Scout | undefined;
  #cancelLate: (() => void) | undefined;
  /** ioredis says why in an event, and then only that the connection is closed. */
  #lastError: unknown;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** A client that never reconnects by itself, and whose errors are heard. */
  connect(purpose: 'probe' | 'blocking'): Redis | Cluster {
    return createRedisClient(this.#options.config.redis, purpose, {
      retryPace: () => null,
      overrides: { lazyConnect: true },
      onError: (error) => {
        this.#lastError = error;
      },
    });
  }

  /** Why a connection ended, as far as it was said; asked once. */
  takeReason(): unknown {
    const error = this.#lastError ?? new Error('Connection is closed.');
    this.#lastError = undefined;
    return error;
  }

  begin(generation: Generation): void {
    const { onError } = this.#options;
    this.answeredAt = this.#options.clock.now();
    // A Cluster client has no single connection: there only pulses tell.
    const { stream } = generation.client as { stream?: NodeJS.EventEmitter };
    stream?.on('data', () => {
      this.answeredAt = this.#options.clock.now();
    });
    generation.client.on('close', () => onError(this.takeReason(), generation));
    this.#startPulse(generation);
  }

  rest(): void {
    this.#pulse?.stop();
    this.#pulse = undefined;
    this.#scout?.end();
    this.#scout = undefined;
  }

  /** For good: no connection and no timer is left. Idempotent. */
  stop(): void {
    this.rest();
    this.#endLate();
  }

  #endLate(): void {
    this.#cancelLate?.();
    this.#lateScout?.end();
    this.#lateScout = undefined;
  }

  #listenLate(scout: Scout, silentMs: number): void {
    const { clock, onLate } = this.#options;
    this.#endLate();
    this.#lateScout = scout;
    this.#cancelLate = clock.after(LATE_MS, () => this.#endLate());
    scout.listen(() => {
      this.#endLate();
      onLate(silentMs);
    });
  }

  #newScout(): Scout {
    const { redis } = this.#options.config;
    const overrides = { lazyConnect: true };
    return new Scout(() => createRedisClient(redis, 'probe', { retryPace: () => null, overrides }));
  }

  /** Milliseconds that an answer may take now. */
  get timeoutMs(): number {
    return this.#pulse?.timeoutMs ?? this.#options.config.resilience.pulseTimeoutMs;
  }

  #startPulse(generation: Generation): void {
    const { clock, config, onError } = this.#options;
    this.rest();
    this.#pulse = new Pulse(
      {
        clock,
        intervalMs: () => config.resilience.pulseIntervalMs / (this.#hasJobs() ? 2 : 1),
        timeoutMs: config.resilience.pulseTimeoutMs,
        heardAt: () => this.answeredAt,
        ask: () => this.#options.ask(generation),
        askBy: () => this.#options.askBy(),
        onAnswer: ({ clockOffset, roundTripMs }) => {
          generation.setClockOffset(clockOffset);
          this.roundTripMs = roundTripMs;
          this.answeredAt = clock.now();
          this.#scout?.end();
          this.#scout = undefined;
        },
        onDoubt: () => {
          this.#scout?.end();
          this.#scout = this.#options.mayScout() ? this.#newScout() : undefined;
        },
        onMissed: (silentMs) => {
          const error = new Error(`no answer to a pulse for ${Math.round(silentMs)} ms`);
          const scout = this.#scout;
          this.#scout = undefined;
          const found = scout?.finding(silentMs);
          const isFrozen = (conditionOf(found) ?? 'frozen') === 'frozen';
          onError(isFrozen ? Object.assign(error, { code: 'EFROZEN' }) : found, generation);
          if (isFrozen && scout) this.#listenLate(scout, silentMs);
        },
        onError: (error) => onError(error, generation),
        onLoopBlocked: (blockedMs) => this.#loopBlocked(blockedMs),
      },
      this.roundTripMs,
    );
    this.#pulse.start();
  }

  #hasJobs(): boolean {
    for (const { held } of this.#options.ledgers()) if (held.size > 0) return true;
    return false;
  }

  #loopBlocked(blockedMs: number): void {
    const { clock, ledgers } = this.#options;
    const since = clock.wall() - JUST_SETTLED_MS;
    const jobs = [...ledgers()]
      .flatMap(({ queue, held, window }) => {
        // The one that did it may have been settled before this was told.
        const settled = window.filter(({ at }) => at >= since).map(({ job }) => job);
        return [...settled, ...held.values()].map(({ id }) => ({ queue, jobId: id }));
      })
      .slice(0, BLOCKED_JOBS_MAX);
    this.#options.log.warn(
      { event: 'event_loop.blocked', condition: 'event-loop-blocked', blockedMs, jobs },
      `the event loop stood still for ${Math.round(blockedMs)} ms; move computation of handlers to a worker thread`,
    );
  }
}

/**
 * The condition that an error tells of, our fence's among them; undefined when it is no outage. `isInUse`:
 * of a connection that was there before, not of one that was to be made.
 */
export function conditionIn(error: unknown, isInUse = false): ConditionName | undefined {
  switch (fencedReason(error)) {
    case 'epoch':
      return 'data-lost';
    case 'late':
      return 'frozen';
    default:
      return isInUse ? conditionInUse(error) : conditionOf(error);
  }
}
