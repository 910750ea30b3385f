/**
 * One Redis, kept: what stands behind BullMQ's `backendFactory`, and its life. One per process and Redis,
 * shared by all its queues.
 *
 * What it must never do: let an error of the connection reach BullMQ, or admit anybody before
 * recovery is done.
 */
import { randomUUID } from 'node:crypto';
import type { BackendFactory, ConnectionOptions, RedisQueueBackend } from 'bullmq';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { FoundJob, Journal } from '../journal/journal.ts';
import type { OutageRecorder } from '../outage/recorder.ts';
import { conditions } from '../redis/condition-catalogue.ts';
import type { BackendOptions, BackendRole } from './backend-options.ts';
import type { Warning } from './early-warnings.ts';
import { sayGoodbye, settlesEnd } from './farewell.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';
import { type LocalRun, localRun } from './local-run.ts';
import { ResilientBackend } from './resilient-backend.ts';
import type { LockEvent, RedisTarget, TargetState } from './target.ts';
import { assembleTarget, type ResilientTargetOptions, type TargetParts } from './target-parts.ts';

/** BullMQ's third argument of a factory: a Worker wants both connections, QueueEvents a blocking one. */
interface Wants {
  blocking?: boolean;
  withBlockingConnection?: boolean;
}

export class ResilientTarget implements RedisTarget {
  readonly processId = randomUUID();
  readonly connection: ConnectionOptions = {};
  readonly backendFactory: BackendFactory<RedisQueueBackend>;
  readonly producerFactory: BackendFactory<RedisQueueBackend>;
  readonly readerFactory: BackendFactory<RedisQueueBackend>;
  readonly journal: Journal;
  readonly outages: OutageRecorder;

  readonly #config: Pick<Config, 'redis' | 'resilience'>;
  readonly #log: Logger;
  readonly #parts: TargetParts;

  constructor(options: ResilientTargetOptions) {
    this.#config = options.config;
    this.#log = options.log;
    this.journal = options.journal;
    const parts = assembleTarget(options, {
      processId: this.processId,
      endConnections: () => this.#endConnections(),
    });
    this.#parts = parts;
    this.outages = parts.outages;
    this.producerFactory = parts.producing.factory(options.config.resilience.durability);
    const factory = (roleOf: (wants: Wants) => BackendRole) =>
      ((name: string, opts: BackendOptions, wants: Wants = {}) => {
        const role = roleOf(wants);
        const prefix = opts.prefix ?? options.config.redis.prefix;
        const backend = new ResilientBackend(parts.core, name, { ...opts, prefix }, role);
        if (role === 'worker') parts.locks.watch();
        return backend;
      }) as unknown as BackendFactory<RedisQueueBackend>;
    this.readerFactory = factory(() => 'reader');
    this.backendFactory = factory((wants) =>
      wants.withBlockingConnection ? 'worker' : wants.blocking ? 'listener' : 'producer',
    );
  }

  // Life ---------------------------------------------------------------------------------------------

  async start(): Promise<void> {
    await this.#parts.adoption.start();
    this.#parts.breaker.start();
    this.#parts.warnings.start();
  }

  /** Resolves when Redis has all that was accepted, or is away, or after `limitMs`. */
  untilClear(limitMs: number): Promise<void> {
    return this.#parts.producing.untilClear(limitMs);
  }

  async stop(deadline: number): Promise<void> {
    this.#parts.warnings.stop();
    this.#parts.locks.stop();
    this.#parts.adoption.stop();
    this.#parts.islands.stop();
    await this.#parts.producing.stop();
    this.#parts.leases.rest();
    this.outages.stop();
    this.#parts.breaker.stop();
    const generation = this.generation();
    if (generation) {
      await sayGoodbye(
        generation,
        this.#parts.ledgers.all(),
        this.processId,
        this.#parts.clock,
        deadline,
      );
    }
    this.#endConnections();
    this.#parts.watch.stop();
    this.#parts.leases.rest();
    this.#parts.comeback.stop();
    await settlesEnd(this.#parts.ledgers.all(), this.#parts.clock);
  }

  /** The breaker opened: nothing is sent any more, and what was sent gets its end. */
  #endConnections(): void {
    this.#parts.admission.hold();
    this.#parts.producing.interrupted();
    this.#parts.leases.watch();
    this.#parts.watch.rest();
    // A full server answers, and settles free its memory: that connection stays until the next one.
    this.#parts.comeback.end(this.#parts.detector.state.condition === 'out-of-memory');
  }

  // What others see ----------------------------------------------------------------------------------

  state(): TargetState {
    const { state } = this.#parts.detector;
    const { evidence } = this.outages;
    return evidence === undefined ? state : { ...state, evidence: evidence.text };
  }

  /** The present connections while the breaker is closed. */
  generation(): Generation | undefined {
    return this.#parts.admission.generation;
  }

  /** What may become an outage, as seen by the last look; see docs/conditions.md. */
  warnings(): readonly Warning[] {
    return this.#parts.warnings.list();
  }

  onChange(listener: (state: TargetState) => void): () => void {
    return this.#parts.detector.on(listener);
  }

  onLock(listener: (event: LockEvent) => void): () => void {
    return this.#parts.leases.on(listener);
  }

  onOutage(listener: (outage: Readonly<Record<string, unknown>>) => void): () => void {
    return this.outages.on((record) => listener({ ...record }));
  }

  // What workers and operators ask for ---------------------------------------------------------------

  setLeasePolicy(queue: string, policy: 'continue' | 'abort'): void {
    this.#ledger(queue).onLeaseLost = policy;
  }

  setIsland(queue: string): void {
    this.#parts.islands.enable(this.#ledger(queue));
  }

  limitSlots(queue: string, slots: number | undefined): void {
    this.#ledger(queue).slotsMax = slots;
  }

  began(queue: string, jobId: string, token: string): void {
    this.#ledger(queue).began(jobId, token);
  }

  sinceTakeAnsweredMs(queue: string): number {
    return this.#parts.clock.now() - this.#ledger(queue).lastTakeAnswered;
  }

  setAside(queue: string): string | undefined {
    return this.#ledger(queue).aside?.reason;
  }

  allowedConcurrency(queue: string): number {
    return this.generation() ? this.#parts.admission.allowed(this.#ledger(queue)) : 0;
  }

  journaled(queue: string, jobId: string): Promise<FoundJob | undefined> {
    return this.#parts.producing.journaled(queue, jobId);
  }

  async localRun({ queue, jobId, position }: FoundJob): Promise<LocalRun | undefined> {
    const end = await this.#parts.islands.ends.outcomeOf(position);
    return localRun(this.#ledger(queue), jobId, end);
  }

  isolate(reason?: string): void {
    this.#log.warn(
      { event: 'breaker.isolated', ...(reason === undefined ? {} : { reason }) },
      'an operator keeps this replica from Redis; it goes on after a release or a restart',
    );
    this.#parts.breaker.isolate({ name: 'isolated', pace: conditions.isolated.pace });
    this.outages.saw('isolated', reason ?? 'no reason was given');
  }

  release(): void {
    if (this.#parts.breaker.state.state !== 'isolated') return;
    this.#log.info({ event: 'breaker.released' }, 'an operator lets this replica back to Redis');
    this.#parts.breaker.release();
  }

  #ledger(queue: string): QueueLedger {
    return this.#parts.ledgers.of(this.#config.redis.prefix, queue);
  }
}
