/**
 * One Redis, kept: the composition of breaker, probe, pulse, recovery and journal behind BullMQ's
 * `backendFactory`, and its life. One per process and Redis, shared by all its queues.
 *
 * What it must never do: let an error of the connection reach BullMQ, or admit anybody before
 * recovery is done.
 */
import { randomUUID } from 'node:crypto';
import type { BackendFactory, ConnectionOptions, RedisQueueBackend } from 'bullmq';
import type { Logger } from 'pino';
import { pauseMax } from '../breaker/backoff.ts';
import { Breaker } from '../breaker/breaker.ts';
import type { Config } from '../config.ts';
import type { Journal } from '../journal/journal.ts';
import type { OutageCounts, OutageRecord } from '../outage/record.ts';
import { OutageRecorder } from '../outage/recorder.ts';
import type { OutageStore } from '../outage/store.ts';
import { conditionAnchor, conditions, describeCondition } from '../redis/condition-catalogue.ts';
import { type Clock, type Random, systemClock, systemRandom } from '../time.ts';
import { Admission } from './admission.ts';
import { Adoption } from './adoption.ts';
import { BackendCore } from './backend-core.ts';
import { BlockingClients } from './blocking-clients.ts';
import { Comeback, PROBE_STEP_MS } from './comeback.ts';
import { Detector } from './detector.ts';
import { EarlyWarnings, type Warning } from './early-warnings.ts';
import { sayGoodbye, settlesEnd } from './farewell.ts';
import { shareOutage } from './fleet-outage.ts';
import type { Generation } from './generation.ts';
import { Heartbeat } from './heartbeat.ts';
import { Islands } from './island.ts';
import { Leases } from './leases.ts';
import type { QueueLedger } from './ledger.ts';
import { Ledgers } from './ledgers.ts';
import { type LocalRun, localRun } from './local-run.ts';
import { LockRenewal } from './lock-renewal.ts';
import { Producing } from './producing.ts';
import { QueueCare } from './queue-care.ts';
import { type BackendOptions, type BackendRole, ResilientBackend } from './resilient-backend.ts';
import { guardMs, lifeOf } from './retake.ts';
import { Settlements } from './settlements.ts';
import type { LockEvent, RedisTarget, TargetState } from './target.ts';
import { Watch } from './watch.ts';

/** What is counted: as in the record of an outage, and accepted jobs that came from the journal to Redis. */
export type CountName = keyof OutageCounts | 'jobsReplayed';

export interface ResilientTargetOptions {
  config: Pick<Config, 'redis' | 'resilience'>;
  log: Logger;
  journal: Journal;
  /** Where records of outages are kept; absent: in memory only. */
  records?: Pick<OutageStore, 'keep' | 'stored'>;
  /** Hears of everything that is counted, for metrics. */
  onCount?: (what: CountName, by: number) => void;
  clock?: Clock;
  random?: Random;
  /** Another pace of `IdleRead`, ms; for tests. */
  quietAfterMs?: number;
  /** Another pace of `Adoption`, ms; for tests. */
  adoptEveryMs?: number;
}

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

  readonly #clock: Clock;
  readonly #config: Pick<Config, 'redis' | 'resilience'>;
  readonly #log: Logger;
  readonly #ledgers: Ledgers;
  readonly #breaker: Breaker;
  readonly #admission: Admission;
  readonly #settlements: Settlements;
  readonly #heartbeat: Heartbeat;
  readonly #warnings: EarlyWarnings;
  readonly #leases: Leases;
  readonly #care: QueueCare;
  readonly #watch: Watch;
  readonly #detector: Detector;
  readonly #adoption: Adoption;
  readonly #comeback: Comeback;
  readonly #islands: Islands;
  readonly #core: BackendCore;
  readonly #producing: Producing;
  readonly #locks: LockRenewal;
  /** Replicas of the fleet that live, as known before an outage. */
  #replicas = 1;

  constructor(options: ResilientTargetOptions) {
    const { config, log, journal } = options;
    const { resilience, redis } = config;
    this.#config = config;
    this.#log = log;
    this.journal = journal;
    const clock = options.clock ?? systemClock;
    this.#clock = clock;
    this.#ledgers = new Ledgers(clock, (ledger) => this.#producing.forget(ledger));
    const { processId } = this;
    const ledgers = () => this.#ledgers.all();
    const guard = (ledger: QueueLedger) => guardMs(ledger, clock.now());
    const generation = () => this.generation();
    const isOutage = (error: unknown, of: Generation) => this.#detector.isOutage(error, of);

    this.outages = new OutageRecorder({
      clock,
      log,
      describe: (name) => ({ ...describeCondition(name), docs: conditionAnchor(name) }),
      changed: (record) => options.records?.keep(record),
      told: (record) => void this.#share(record, options.records),
      onCount: (what, by) => options.onCount?.(what, by),
    });
    this.#admission = new Admission(clock, resilience.slowStartMs, (ledger, of) =>
      this.#barrierStands(ledger, of),
    );
    this.#settlements = new Settlements(journal, clock, resilience.rollbackWindowMs, log);
    this.#leases = new Leases(clock, log, ledgers);
    this.#watch = new Watch({
      clock,
      log,
      config,
      ledgers,
      ask: (of) => this.#heartbeat.ask(of),
      askBy: () => this.#heartbeat.dueAt,
      mayScout: () => this.#replicas <= resilience.attemptBudget / 2,
      onError: (error, of) => this.#detector.isOutage(error, of, true),
      onLate: (tookMs) => this.#detector.late(tookMs),
    });
    this.#detector = new Detector({
      clock,
      ledgers: this.#ledgers,
      outages: this.outages,
      watch: this.#watch,
      generation: () => this.#comeback.generation,
      wasEverClosed: () => this.#admission.everOpen,
      failure: (trouble) => this.#breaker.failure(trouble),
      renamed: (from, trouble) => this.#breaker.renamed(from, trouble),
    });
    this.#care = new QueueCare({
      clock,
      processId,
      fenceMs: () => this.#core.fenceMs(),
      guardMs: guard,
      server: () => {
        const { identity } = this.#comeback;
        return identity ? lifeOf(identity) : '';
      },
    });
    const onMembers = (count: number) => {
      this.#replicas = count;
    };
    this.#heartbeat = new Heartbeat({
      clock,
      processId,
      ledgers,
      guardMs: guard,
      generation,
      onMembers,
    });
    this.#warnings = new EarlyWarnings({
      clock,
      log,
      generation,
      replicas: () => this.#replicas,
      roundTripMs: () => this.#watch.roundTripMs,
    });
    const backoff = {
      baseMs: resilience.backoffBaseMs,
      capMinMs: resilience.backoffCapMinMs,
      capMaxMs: resilience.backoffCapMaxMs,
      attemptBudget: resilience.attemptBudget,
    };
    const later = () => ({
      core: this.#core,
      islands: this.#islands,
      producing: this.#producing,
    });
    const random = options.random ?? systemRandom;
    this.#adoption = new Adoption({
      clock,
      random,
      log,
      journal,
      ledgers: this.#ledgers,
      settlements: this.#settlements,
      later,
      generation,
      isOutage,
      drain: (ledger, of) => this.#comeback.drain(ledger, of),
      ...(options.adoptEveryMs === undefined ? {} : { everyMs: options.adoptEveryMs }),
    });
    this.#comeback = new Comeback({
      clock,
      log,
      config,
      outages: this.outages,
      ledgers: this.#ledgers,
      admission: this.#admission,
      leases: this.#leases,
      settlements: this.#settlements,
      watch: this.#watch,
      care: this.#care,
      adoption: this.#adoption,
      later,
      onMembers,
      pauseMaxMs: () => {
        const { state } = this.#breaker;
        const pace = state.state === 'closed' ? 'fast' : state.trouble.pace;
        return pauseMax(pace, this.#replicas, backoff);
      },
    });
    this.#breaker = new Breaker({
      clock,
      random,
      backoff,
      replicas: () => this.#replicas,
      probe: (signal) => this.#comeback.probe(signal),
      recover: () => this.#comeback.recover(),
      troubleOf: (error) => this.#detector.troubleOf(error),
      endConnections: () => this.#endConnections(),
      admit: () => this.#comeback.admit(),
      onTransition: (from, to) => {
        this.#detector.moved(from, to);
        this.#producing.changed();
      },
    });
    this.#islands = new Islands({
      clock,
      journal,
      log,
      ledger: (prefix, queue) => this.#ledgers.of(prefix, queue),
      generation,
      isAway: () => !this.generation() && !this.#core.settlingGeneration(),
      touched: () => this.#producing.touched,
      isOutage,
    });
    this.#core = new BackendCore({
      clock,
      processId,
      config,
      ledgers: this.#ledgers,
      outages: this.outages,
      admission: this.#admission,
      detector: this.#detector,
      comeback: this.#comeback,
      watch: this.#watch,
      care: this.#care,
      adoption: this.#adoption,
      blocking: new BlockingClients(() => this.#watch.connect('blocking'), PROBE_STEP_MS, isOutage),
      islands: this.#islands,
      settlements: this.#settlements,
      leases: this.#leases,
      quietAfterMs: options.quietAfterMs,
    });
    this.#locks = new LockRenewal(this.#core, ledgers);
    this.#producing = new Producing({
      islands: this.#islands,
      core: this.#core,
      journal,
      log,
      prefix: redis.prefix,
      rollbackWindowMs: resilience.rollbackWindowMs,
      enqueueTimeoutMs: resilience.enqueueTimeoutMs,
      compareClocks: (of) => this.#care.compareClocks(of),
      roundTripMs: () => this.#watch.roundTripMs,
      isConnecting: () => !this.#admission.everOpen && !this.outages.current,
      onAccepted: () => this.outages.count('accepted'),
      onReplayed: (jobs) => options.onCount?.('jobsReplayed', jobs),
    });
    this.producerFactory = this.#producing.factory(resilience.durability);
    const factory = (roleOf: (wants: Wants) => BackendRole) =>
      ((name: string, opts: BackendOptions, wants: Wants = {}) => {
        const role = roleOf(wants);
        const prefix = opts.prefix ?? redis.prefix;
        const backend = new ResilientBackend(this.#core, name, { ...opts, prefix }, role);
        if (role === 'worker') this.#locks.watch();
        return backend;
      }) as unknown as BackendFactory<RedisQueueBackend>;
    this.readerFactory = factory(() => 'reader');
    this.backendFactory = factory((wants) =>
      wants.withBlockingConnection ? 'worker' : wants.blocking ? 'listener' : 'producer',
    );
  }

  // Life ---------------------------------------------------------------------------------------------

  async start(): Promise<void> {
    await this.#adoption.start();
    this.#breaker.start();
    this.#warnings.start();
  }

  async stop(deadline: number): Promise<void> {
    this.#warnings.stop();
    this.#locks.stop();
    this.#adoption.stop();
    this.#islands.stop();
    await this.#producing.stop();
    this.#leases.rest();
    this.outages.stop();
    this.#breaker.stop();
    const generation = this.generation();
    if (generation) {
      await sayGoodbye(generation, this.#ledgers.all(), this.processId, this.#clock, deadline);
    }
    this.#endConnections();
    this.#watch.stop();
    this.#leases.rest();
    this.#comeback.stop();
    await settlesEnd(this.#ledgers.all(), this.#clock);
  }

  /** The breaker opened: nothing is sent any more, and what was sent gets its end. */
  #endConnections(): void {
    this.#admission.hold();
    this.#producing.interrupted();
    this.#leases.watch();
    this.#watch.rest();
    // A full server answers, and settles free its memory: that connection stays until the next one.
    this.#comeback.end(this.#detector.state.condition === 'out-of-memory');
  }

  // What others see ----------------------------------------------------------------------------------

  state(): TargetState {
    const { state } = this.#detector;
    const { evidence } = this.outages;
    return evidence === undefined ? state : { ...state, evidence: evidence.text };
  }

  /** The present connections while the breaker is closed. */
  generation(): Generation | undefined {
    return this.#admission.generation;
  }

  /** What may become an outage, as seen by the last look; see docs/conditions.md. */
  warnings(): readonly Warning[] {
    return this.#warnings.list();
  }

  onChange(listener: (state: TargetState) => void): () => void {
    return this.#detector.on(listener);
  }

  onLock(listener: (event: LockEvent) => void): () => void {
    return this.#leases.on(listener);
  }

  onOutage(listener: (outage: Readonly<Record<string, unknown>>) => void): () => void {
    return this.outages.on((record) => listener({ ...record }));
  }

  // What workers and operators ask for ---------------------------------------------------------------

  setLeasePolicy(queue: string, policy: 'continue' | 'abort'): void {
    this.#ledger(queue).onLeaseLost = policy;
  }

  setIsland(queue: string): void {
    this.#islands.enable(this.#ledger(queue));
  }

  limitSlots(queue: string, slots: number | undefined): void {
    this.#ledger(queue).slotsMax = slots;
  }

  began(queue: string, jobId: string, token: string): void {
    this.#ledger(queue).began(jobId, token);
  }

  sinceTakeAnsweredMs(queue: string): number {
    return this.#clock.now() - this.#ledger(queue).lastTakeAnswered;
  }

  allowedConcurrency(queue: string): number {
    return this.generation() ? this.#admission.allowed(this.#ledger(queue)) : 0;
  }

  localRun(queue: string, jobId: string): LocalRun | undefined {
    const ledger = this.#ledgers.known(this.#config.redis.prefix, queue);
    return ledger && localRun(ledger, jobId);
  }

  isolate(reason?: string): void {
    this.#log.warn(
      { event: 'breaker.isolated', ...(reason === undefined ? {} : { reason }) },
      'an operator keeps this replica from Redis; it goes on after a release or a restart',
    );
    this.#breaker.isolate({ name: 'isolated', pace: conditions.isolated.pace });
    this.outages.saw('isolated', reason ?? 'no reason was given');
  }

  release(): void {
    if (this.#breaker.state.state !== 'isolated') return;
    this.#log.info({ event: 'breaker.released' }, 'an operator lets this replica back to Redis');
    this.#breaker.release();
  }

  #ledger(queue: string): QueueLedger {
    return this.#ledgers.of(this.#config.redis.prefix, queue);
  }

  /** For the fleet's post-mortem; a failure of it is harmless. */
  async #share(record: OutageRecord, records: ResilientTargetOptions['records']): Promise<void> {
    const generation = this.generation();
    const { fleetId } = record;
    if (!records || !generation?.alive || fleetId === undefined) return;
    const stored = { ...records.stored(record), fleetId };
    await shareOutage(generation.client, this.#config.redis.prefix, stored).catch(() => undefined);
  }

  async #barrierStands(ledger: QueueLedger, generation: Generation): Promise<boolean> {
    try {
      return (await generation.client.exists(ledger.key('barrier'))) === 1;
    } catch (error) {
      if (this.#detector.isOutage(error, generation)) return true;
      throw error;
    }
  }
}
