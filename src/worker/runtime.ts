/**
 * All workers of this process: one per definition, started and stopped as one part of the service.
 *
 * Its phases: `new` → `running` → (`quiet` →) `stopping` → `stopped`. Quiet takes no more jobs and
 * goes on with those that run; only a stop ends it.
 */
import type { Telemetry } from 'bullmq';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import { ConfigError, LockExpiringError, LockLostError } from '../errors.ts';
import type { Part } from '../part.ts';
import type { Client } from '../queue/client.ts';
import type { LockEvent, RedisTarget, TargetState } from '../queue/target.ts';
import type { Clock, Instant } from '../time.ts';
import type { WorkerDefinition } from './definition.ts';
import { assertDefinitions } from './definition-schema.ts';
import { HookCaller, type Hooks } from './hooks.ts';
import type { JobMeter } from './meter.ts';
import { QueueWorker } from './queue-worker.ts';
import { WedgeDetector } from './wedge.ts';

export interface WorkerRuntimeOptions {
  definitions: readonly WorkerDefinition[];
  hooks?: Hooks;
  config: Config;
  target: Pick<RedisTarget, 'backendFactory' | 'connection' | 'state' | 'onChange'> &
    Partial<
      Pick<
        RedisTarget,
        'onLock' | 'setLeasePolicy' | 'setIsland' | 'sinceTakeAnsweredMs' | 'setAside'
      >
    >;
  client: Client;
  log: Logger;
  clock: Clock;
  telemetry?: Telemetry | undefined;
  /** The trace that the present code runs in. */
  traceId?: (() => string | undefined) | undefined;
  meter?: JobMeter;
}

export type Phase = 'new' | 'running' | 'quiet' | 'stopping' | 'stopped';

export interface QueueState {
  queue: string;
  /** Jobs are taken here now. */
  isConsuming: boolean;
  /** Why not. */
  reason: string | undefined;
  concurrency: number;
  running: number;
  /** Jobs that ended here for good since the start. */
  finished: number;
  /** Handlers that go on although their timeout is over. */
  overdue: number;
  /** Its Worker was rebuilt several times and takes nothing: only a new process helps. */
  isStuck: boolean;
}

export interface WorkerRuntime extends Part {
  /** Takes no more jobs, goes on working. */
  quiet(): void;
  /** Every queue that a handler names, also those that QUEUES leaves to other replicas. */
  state(): { phase: Phase; queues: QueueState[] };
  /** Tells the hook of an outage; here because it must not harm either. */
  tellOutage(outage: Readonly<Record<string, unknown>>): void;
}

/** Of the time until the deadline, this share is kept for handing back and closing … */
const RESERVE_SHARE = 0.2;
/** … but no more than this, ms: an abort, a moment to obey it, and a few round trips. */
const RESERVE_MS_MAX = 1500;

export function createWorkerRuntime(options: WorkerRuntimeOptions): WorkerRuntime {
  return new Runtime(options);
}

class Runtime implements WorkerRuntime {
  readonly name = 'workers';
  readonly #options: WorkerRuntimeOptions;
  readonly #workers: readonly QueueWorker[];
  readonly #elsewhere: readonly WorkerDefinition[];
  readonly #hooks: HookCaller;
  readonly #wedges: WedgeDetector | undefined;
  #phase: Phase = 'new';
  #stopped: Promise<void> | undefined;
  #unlisten: (() => void) | undefined;

  constructor(options: WorkerRuntimeOptions) {
    const { definitions, config, target, client, clock, log, telemetry, traceId, meter } = options;
    this.#options = options;
    assertDefinitions(definitions);
    assertQueuesExist(definitions, config.queues);
    const isHere = ({ queue }: WorkerDefinition) =>
      config.queues.length === 0 || config.queues.includes(queue);
    this.#elsewhere = definitions.filter((definition) => !isHere(definition));
    this.#hooks = new HookCaller(options.hooks ?? {}, log, clock);
    this.#workers = definitions.filter(isHere).map(
      (definition) =>
        new QueueWorker(definition, {
          target,
          config,
          queues: definitions.map(({ queue }) => queue),
          client,
          clock,
          log,
          hooks: this.#hooks,
          resultBytesMax: config.resultBytesMax,
          unknownJobGraceMs: config.unknownJobGraceMs,
          telemetry,
          traceId,
          meter,
        }),
    );
    this.#wedges = this.#detectWedges();
  }

  async start(): Promise<void> {
    if (this.#phase !== 'new') return;
    this.#phase = 'running';
    this.#unlisten = this.#options.target.onLock?.((event) => this.#lockEvent(event));
    for (const worker of this.#workers) {
      const { queue, onLeaseLost = 'continue' } = worker.definition;
      this.#options.target.setLeasePolicy?.(queue, onLeaseLost);
      if (worker.definition.island) this.#options.target.setIsland?.(queue);
      worker.start();
    }
    this.#wedges?.start();
  }

  quiet(): void {
    if (this.#phase !== 'running') return;
    this.#phase = 'quiet';
    for (const worker of this.#workers) void worker.quiet();
    const running = this.#workers.reduce((sum, worker) => sum + worker.running, 0);
    this.#options.log.info(
      { event: 'workers.quiet', running },
      `no more jobs are taken; ${running} go on`,
    );
  }

  stop(deadline: Instant): Promise<void> {
    this.#stopped ??= this.#stop(deadline);
    return this.#stopped;
  }

  async #stop(deadline: Instant): Promise<void> {
    this.#phase = 'stopping';
    this.#wedges?.stop();
    const graceMs = Math.max(0, deadline - this.#options.clock.now());
    const graceBy = deadline - Math.min(graceMs * RESERVE_SHARE, RESERVE_MS_MAX);
    await Promise.all(this.#workers.map((worker) => worker.stop(graceBy, deadline, graceMs)));
    this.#unlisten?.();
    this.#phase = 'stopped';
    const left = this.#workers.reduce((sum, worker) => sum + worker.running, 0);
    if (left > 0) {
      this.#options.log.warn(
        { event: 'workers.left', running: left },
        `${left} runs have not ended by the deadline; they end with the process`,
      );
    }
  }

  state(): { phase: Phase; queues: QueueState[] } {
    const away = awayReason(this.#options.target.state());
    const here = this.#workers.map((worker): QueueState => {
      const reason = worker.idleReason ?? away ?? this.#asideReason(worker);
      return {
        queue: worker.definition.queue,
        isConsuming: reason === undefined,
        reason,
        concurrency: worker.concurrency,
        running: worker.running,
        finished: worker.finished,
        overdue: worker.overdue,
        isStuck: this.#wedges?.isStuck(worker.definition.queue) ?? false,
      };
    });
    const elsewhere = this.#elsewhere.map(
      ({ queue }): QueueState => ({
        queue,
        isConsuming: false,
        reason: 'not in QUEUES',
        concurrency: 0,
        running: 0,
        finished: 0,
        overdue: 0,
        isStuck: false,
      }),
    );
    return { phase: this.#phase, queues: [...here, ...elsewhere] };
  }

  #asideReason({ definition }: QueueWorker): string | undefined {
    const reason = this.#options.target.setAside?.(definition.queue);
    return reason === undefined ? undefined : `set aside, its data in Redis is broken: ${reason}`;
  }

  tellOutage(outage: Readonly<Record<string, unknown>>): void {
    this.#hooks.call('onOutage', outage);
  }

  /** Only where the target knows when work was last asked for. */
  #detectWedges(): WedgeDetector | undefined {
    const { target, client, clock, log, config, meter } = this.#options;
    const { sinceTakeAnsweredMs } = target;
    if (!sinceTakeAnsweredMs) return undefined;
    const asideReason = (worker: QueueWorker) => this.#asideReason(worker);
    return new WedgeDetector({
      clock,
      log,
      afterMs: config.resilience.wedgeAfterMs,
      queues: () =>
        this.#workers.map((worker) => ({
          queue: worker.definition.queue,
          get isConsuming() {
            return worker.idleReason === undefined && asideReason(worker) === undefined;
          },
          get freeSlots() {
            return worker.freeSlots;
          },
          limitMs: worker.limitMs,
          rebuild: () => worker.rebuild(),
        })),
      closedForMs: () => {
        const { breaker, since } = target.state();
        return breaker === 'closed' ? clock.wall() - since : undefined;
      },
      sinceTakeAnsweredMs: (queue) => sinceTakeAnsweredMs.call(target, queue),
      onRebuilt: (queue) => meter?.rebuilt(queue),
      dueJobs: async (queue) => {
        const { waiting = 0, prioritized = 0 } = await client.counts(queue);
        return waiting + prioritized;
      },
    });
  }

  #lockEvent(event: LockEvent): void {
    for (const worker of this.#workers) {
      const { queue, onLeaseLost } = worker.definition;
      if (queue !== event.queue) continue;
      if (event.type === 'dropped') {
        worker.dropped(event.jobId);
        continue;
      }
      // A lock that may expire is another's decision only where the handler asked for it.
      if (event.type === 'expiring' && onLeaseLost !== 'abort') continue;
      const Reason = event.type === 'lost' ? LockLostError : LockExpiringError;
      worker.abort(event.jobId, new Reason(queue, event.jobId));
    }
  }
}

function awayReason(state: TargetState): string | undefined {
  return state.breaker === 'closed' ? undefined : `Redis is away (${state.condition ?? 'unknown'})`;
}

function assertQueuesExist(
  definitions: readonly WorkerDefinition[],
  queues: readonly string[],
): void {
  const known = definitions.map(({ queue }) => queue);
  const unknown = queues.filter((queue) => !known.includes(queue));
  if (unknown.length === 0) return;
  throw new ConfigError(
    unknown.map((queue) => ({
      where: 'QUEUES',
      value: queue,
      allowed: `the handlers name ${known.length === 0 ? 'no queue' : known.join(', ')}`,
    })),
  );
}
