/**
 * One Redis, kept: the composition of breaker, probe, pulse, recovery and journal behind BullMQ's
 * `backendFactory`. One per process and Redis, shared by all its queues.
 *
 * What it must never do: let an error of the connection reach BullMQ, or admit anybody before
 * recovery is done.
 */
import { randomUUID } from 'node:crypto';
import type { BackendFactory, ConnectionOptions, RedisQueueBackend } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import { Breaker } from '../breaker/breaker.ts';
import type { BreakerState, Trouble } from '../breaker/state.ts';
import type { Config } from '../config.ts';
import { RedisUnavailableError } from '../errors.ts';
import type { Journal } from '../journal/journal.ts';
import type { OutageCounts, OutageRecord } from '../outage/record.ts';
import { OutageRecorder } from '../outage/recorder.ts';
import type { OutageStore } from '../outage/store.ts';
import { conditions, describeCondition } from '../redis/condition-catalogue.ts';
import { compareIdentity, type IdentityChange, type ServerIdentity } from '../redis/identity.ts';
import { destroyClient, type ProbePassed, ProbeTimeout, probe } from '../redis/probe.ts';
import { type Clock, type Random, systemClock, systemRandom } from '../time.ts';
import { Admission } from './admission.ts';
import { BlockingClients } from './blocking-clients.ts';
import { bullmqConnection } from './bullmq-connection.ts';
import { EarlyWarnings, type Warning } from './early-warnings.ts';
import { agreeOnOutage, shareOutage } from './fleet-outage.ts';
import { Generation } from './generation.ts';
import { ALIVE_MS, Heartbeat } from './heartbeat.ts';
import { IdleRead } from './idle-read.ts';
import { Islands } from './island.ts';
import { Leases } from './leases.ts';
import { type HeldJob, QueueLedger } from './ledger.ts';
import { writeNotes } from './notes.ts';
import { Producing } from './producing.ts';
import { QueueCare } from './queue-care.ts';
import { type RecoveryDeps, type RecoveryReport, recover } from './recovery.ts';
import { findingsOf } from './recovery-findings.ts';
import { type BackendOptions, ResilientBackend } from './resilient-backend.ts';
import { Settlements } from './settlements.ts';
import { readMarkers } from './taker.ts';
import type { LockEvent, RedisTarget, TargetState } from './target.ts';
import type { Settlement, TargetCore, Verdict } from './target-core.ts';
import { conditionIn, Watch } from './watch.ts';

/** A producer gets its answer within this time while Redis is away, ms. */
const ANSWER_MS = 2000;
/** Each step of a probe may take this long, ms: a server that swallows replies must not hold it. */
const PROBE_STEP_MS = 3000;
/** The fleet's stalled checks wait this long after an outage that outlived locks, ms. */
const HOLD_MS = 10_000;
/** Beyond the reopen cap, the fleet's barrier stands this much longer, ms. */
const BARRIER_MARGIN_MS = 250;
/** Plain BullMQ workers leave stalled jobs to us through outages of this length, ms. */
const GUARD_MS = 10 * 60_000;
/** Between giving a command up and its time being over at the server, ms. */
const FENCE_SLACK_MS = 500;
/** A blocking read may be late by this much before its socket counts as dead, ms. */
const PATIENCE_MS = 750;
/** Conditions that no event tells of, only the want of an answer. */
const SILENT: ReadonlySet<string> = new Set(['frozen', 'half-open', 'timeout']);
/** At the end, our keys are removed if Redis answers within this time, ms. */
const GOODBYE_MS = 500;

/** At the end, outcomes whose requests had no reply are on disk within this time, ms; looked at so often. */
const SETTLES_END_MS = 500;
const SETTLES_LOOK_MS = 5;

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
}

/** BullMQ's third argument of a factory: a Worker wants both connections, QueueEvents a blocking one. */
interface Wants {
  blocking?: boolean;
  withBlockingConnection?: boolean;
}

export class ResilientTarget implements RedisTarget, TargetCore {
  readonly processId = randomUUID();
  readonly answerMs = ANSWER_MS;
  readonly clock: Clock;
  readonly connection: ConnectionOptions = {};
  readonly backendFactory: BackendFactory<RedisQueueBackend>;
  readonly producerFactory: BackendFactory<RedisQueueBackend>;
  readonly journal: Journal;
  readonly outages: OutageRecorder;
  readonly idleRead: IdleRead;

  readonly #config: Pick<Config, 'redis' | 'resilience'>;
  readonly #log: Logger;
  readonly #breaker: Breaker;
  readonly #admission: Admission;
  readonly #settlements: Settlements;
  readonly #blocking: BlockingClients;
  readonly #heartbeat: Heartbeat;
  readonly #warnings: EarlyWarnings;
  readonly #leases: Leases;
  readonly #care: QueueCare;
  readonly #watch: Watch;
  readonly #producing: Producing;
  readonly #islands: Islands;
  readonly #ledgers = new Map<string, QueueLedger>();
  readonly #stateListeners = new Set<(state: TargetState) => void>();

  #state: TargetState;
  #generation: Generation | undefined;
  /** The identity that recovery has dealt with; committed only after healing. */
  #identity: ServerIdentity | undefined;
  #passed: ProbePassed | undefined;
  /** Server time (ms) of the last sign of life before the outage; 0 before the first connection. */
  #lastAliveAt = 0;
  #recovery: { change: IdentityChange; report: RecoveryReport; answeredAt: number } | undefined;
  #replicas = 1;

  constructor(options: ResilientTargetOptions) {
    const { config, log } = options;
    const { resilience, redis } = config;
    this.#config = config;
    this.#log = log;
    this.journal = options.journal;
    this.clock = options.clock ?? systemClock;
    this.#state = {
      breaker: 'open',
      condition: 'connecting',
      outageId: undefined,
      since: this.clock.wall(),
    };
    const ledgers = () => this.#ledgers.values();
    this.outages = new OutageRecorder({
      clock: this.clock,
      log,
      describe: describeCondition,
      changed: (record) => options.records?.keep(record),
      told: (record) => void this.#share(record, options.records),
      onCount: (what, by) => options.onCount?.(what, by),
    });
    this.#admission = new Admission(this.clock, resilience.slowStartMs, (ledger, generation) =>
      this.#barrierStands(ledger, generation),
    );
    this.#settlements = new Settlements(this.journal, this.clock, resilience.rollbackWindowMs, log);
    this.#leases = new Leases(this.clock, log, ledgers);
    this.#watch = new Watch({
      clock: this.clock,
      log,
      config,
      ledgers,
      ask: (generation) => this.#heartbeat.ask(generation),
      askBy: () => this.#heartbeat.dueAt,
      mayScout: () => this.#replicas <= resilience.attemptBudget / 2,
      onError: (error, generation) => this.isOutage(error, generation, true),
    });
    this.#blocking = new BlockingClients(
      () => this.#watch.connect('blocking'),
      PROBE_STEP_MS,
      (error, generation) => this.isOutage(error, generation),
    );
    this.idleRead = new IdleRead({
      clock: this.clock,
      quietAfterMs: options.quietAfterMs,
      read: (...asked) => readMarkers(this, ...asked),
    });
    this.#care = new QueueCare({
      clock: this.clock,
      processId: this.processId,
      fenceMs: () => this.fenceMs(),
      guardMs,
      runId: () => this.#identity?.runId ?? '',
    });
    this.#warnings = new EarlyWarnings({
      clock: this.clock,
      log,
      generation: () => this.generation(),
      replicas: () => this.#replicas,
      roundTripMs: () => this.#watch.roundTripMs,
    });
    this.#heartbeat = new Heartbeat({
      clock: this.clock,
      processId: this.processId,
      ledgers,
      guardMs,
      generation: () => this.generation(),
      onMembers: (count) => {
        this.#replicas = count;
      },
    });
    this.#breaker = new Breaker({
      clock: this.clock,
      random: options.random ?? systemRandom,
      backoff: {
        baseMs: resilience.backoffBaseMs,
        capMinMs: resilience.backoffCapMinMs,
        capMaxMs: resilience.backoffCapMaxMs,
        attemptBudget: resilience.attemptBudget,
      },
      replicas: () => this.#replicas,
      probe: (signal) => this.#probe(signal),
      recover: () => this.#recover(),
      troubleOf: (error) => this.#troubleOf(error),
      endConnections: () => this.#endConnections(),
      admit: () => this.#admit(),
      onTransition: (from, to) => this.#moved(from, to),
    });
    this.#islands = new Islands({
      clock: this.clock,
      journal: this.journal,
      log,
      ledger: (prefix, queue) => this.ledger(prefix, queue),
      generation: () => this.generation(),
      isAway: () => !this.generation() && !this.settlingGeneration(),
      touched: () => this.#producing.touched,
      isOutage: (error, generation) => this.isOutage(error, generation),
    });
    this.#producing = new Producing({
      islands: this.#islands,
      core: this,
      journal: this.journal,
      log,
      prefix: redis.prefix,
      rollbackWindowMs: resilience.rollbackWindowMs,
      enqueueTimeoutMs: resilience.enqueueTimeoutMs,
      compareClocks: (generation) => this.#care.compareClocks(generation),
      roundTripMs: () => this.#watch.roundTripMs,
      isConnecting: () => !this.#admission.everOpen && !this.outages.current,
      onAccepted: () => this.outages.count('accepted'),
      onReplayed: (jobs) => options.onCount?.('jobsReplayed', jobs),
    });
    this.producerFactory = this.#producing.factory(resilience.durability);
    this.backendFactory = ((name: string, opts: BackendOptions, wants: Wants = {}) =>
      new ResilientBackend(
        this,
        name,
        { ...opts, prefix: opts.prefix ?? redis.prefix },
        wants.withBlockingConnection ? 'worker' : wants.blocking ? 'listener' : 'producer',
      )) as unknown as BackendFactory<RedisQueueBackend>;
  }

  // Life ---------------------------------------------------------------------------------------------

  async start(): Promise<void> {
    await this.#loadOutcomes();
    this.#breaker.start();
    this.#warnings.start();
  }

  async stop(deadline: number): Promise<void> {
    this.#warnings.stop();
    this.#islands.stop();
    await this.#producing.stop();
    this.#leases.rest();
    this.outages.stop();
    this.#breaker.stop();
    const generation = this.generation();
    if (generation) await this.#sayGoodbye(generation, deadline);
    this.#endConnections();
    this.#leases.rest();
    this.#generation?.destroy();
    await this.#settlesEnd();
    if (this.#passed) destroyClient(this.#passed.client);
  }

  /** Requests that had no reply are rejected by now: their outcomes go to the journal before it closes. */
  async #settlesEnd(): Promise<void> {
    const by = this.clock.now() + SETTLES_END_MS;
    const areUnderWay = () => [...this.#ledgers.values()].some(({ settling }) => settling > 0);
    while (areUnderWay() && this.clock.now() < by) {
      await new Promise<void>((resolve) => this.clock.after(SETTLES_LOOK_MS, resolve));
    }
  }

  /** Our keys go, so that nobody waits for us; a server that does not answer is not waited for. */
  async #sayGoodbye(generation: Generation, deadline: number): Promise<void> {
    const pipeline = generation.client.pipeline();
    for (const ledger of this.#ledgers.values()) {
      pipeline.zrem(ledger.key('members'), this.processId);
      pipeline.del(ledger.key(`epoch:${this.processId}`));
    }
    const waitMs = Math.max(0, Math.min(GOODBYE_MS, deadline - this.clock.now()));
    await Promise.race([
      pipeline.exec().catch(() => undefined),
      new Promise<void>((resolve) => this.clock.after(waitMs, resolve)),
    ]);
  }

  async #loadOutcomes(): Promise<void> {
    for await (const entry of this.journal.outcomes()) {
      await this.#settlements.adopt((prefix, queue) => this.ledger(prefix, queue), entry);
    }
  }

  state(): TargetState {
    return this.#state;
  }

  /** What may become an outage, as seen by the last look; see docs/conditions.md. */
  warnings(): readonly Warning[] {
    return this.#warnings.list();
  }

  onChange(listener: (state: TargetState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  onLock(listener: (event: LockEvent) => void): () => void {
    return this.#leases.on(listener);
  }

  onOutage(listener: (outage: Readonly<Record<string, unknown>>) => void): () => void {
    return this.outages.on((record) => listener({ ...record }));
  }

  setLeasePolicy(queue: string, policy: 'continue' | 'abort'): void {
    this.ledger(this.#config.redis.prefix, queue).onLeaseLost = policy;
  }

  setIsland(queue: string): void {
    this.#islands.enable(this.ledger(this.#config.redis.prefix, queue));
  }

  limitSlots(queue: string, slots: number | undefined): void {
    this.ledger(this.#config.redis.prefix, queue).slotsMax = slots;
  }

  sinceTakeAnsweredMs(queue: string): number {
    return this.clock.now() - this.ledger(this.#config.redis.prefix, queue).lastTakeAnswered;
  }

  allowedConcurrency(queue: string): number {
    if (!this.generation()) return 0;
    return this.#admission.allowed(this.ledger(this.#config.redis.prefix, queue));
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

  // The breaker's hands ------------------------------------------------------------------------------

  /** One try of the real thing. */
  async #probe(signal: AbortSignal): Promise<void> {
    this.#watch.takeReason();
    this.outages.count('probes');
    const passed = await probe({
      connect: () => this.#watch.connect('probe'),
      clock: this.clock,
      probeKey: this.#probeKey(),
      stepTimeoutMs: Math.max(PROBE_STEP_MS, 3 * this.#watch.roundTripMs),
      signal,
      isFirst: !this.#admission.everOpen,
    });
    if (this.#passed) destroyClient(this.#passed.client);
    this.#passed = passed;
  }

  async #recover(): Promise<void> {
    try {
      await this.#recoverAll();
    } catch (error) {
      this.#islands.rest();
      throw error;
    }
  }

  async #recoverAll(): Promise<void> {
    const passed = this.#passed!;
    this.#passed = undefined;
    this.#generation?.destroy();
    const generation = new Generation(passed.client, passed.clockOffset, this.clock);
    this.#generation = generation;
    this.#watch.roundTripMs = passed.roundTripMs;
    // Recovery has no other deadline: a server that falls silent in the middle of it is seen by this.
    this.#watch.begin(generation);
    // Before anybody recovers stalled jobs: what a dead replica finished must not run again.
    if ((await this.journal.adoptOrphans()).length > 0) {
      await this.#loadOutcomes();
      this.#producing.adopted();
      this.#islands.found();
    }
    await this.#islands.bring(generation);
    const change = compareIdentity(this.#identity, passed.identity);
    const ledgers = [...this.#ledgers.values()];
    const report = await recover(
      {
        generation,
        identity: passed.identity,
        change,
        ledgers,
        aliveFrom: this.#lastAliveAt > 0 ? this.#lastAliveAt - ALIVE_MS : generation.serverNow(),
      },
      this.#recoveryDeps(),
    );
    if (!generation.alive) throw this.#watch.takeReason();
    this.#identity = passed.identity;
    this.#care.isReady(ledgers, generation);
    this.#replicas = Math.max(1, report.members);
    this.#recovery = { change, report, answeredAt: passed.answeredAt };
  }

  /** The breaker closed: everybody may go on. */
  #admit(): void {
    const generation = this.#generation!;
    this.#leases.rest();
    this.#tellEnd();
    this.#admission.admit(generation);
    this.#islands.admitted();
    const { change } = this.#recovery!;
    void this.#producing.admitted(generation, change === 'same');
    void this.#afterwards(generation);
  }

  #tellEnd(): void {
    const { change, report, answeredAt } = this.#recovery!;
    for (const { name, evidence } of findingsOf(change, report, this.#watch.roundTripMs)) {
      this.outages.found(name, evidence);
    }
    const { replayed, healed, locksRetaken, pulledBack, handedBack, runsLost } = report;
    const counts = { replayed, healed, locksRetaken, pulledBack, handedBack, runsLost };
    this.outages.closed(change, counts, answeredAt, this.#agree());
  }

  /** One id for the fleet's outage; a failure of it is harmless. */
  async #agree(): Promise<string | undefined> {
    const { current, openedAt } = this.outages;
    const generation = this.#generation;
    if (!current || !generation?.alive) return undefined;
    const own = { id: current.id, sinceMs: this.clock.now() - openedAt };
    return await agreeOnOutage(generation.client, this.#config.redis.prefix, own).catch(
      () => undefined,
    );
  }

  /** For the fleet's post-mortem; a failure of it is harmless. */
  async #share(record: OutageRecord, records: ResilientTargetOptions['records']): Promise<void> {
    const generation = this.generation();
    const { fleetId } = record;
    if (!records || !generation?.alive || fleetId === undefined) return;
    const stored = { ...records.stored(record), fleetId };
    await shareOutage(generation.client, this.#config.redis.prefix, stored).catch(() => undefined);
  }

  /** What nobody needs to wait for: notes of running jobs, and outcomes that came in meanwhile. */
  async #afterwards(generation: Generation): Promise<void> {
    const deps = this.#recoveryDeps();
    for (const ledger of this.#ledgers.values()) {
      void this.#unlessOutage(generation, () => this.#care.watchUndone(ledger, generation, deps));
      await this.#unlessOutage(generation, async () => {
        for (const job of ledger.held.values()) await writeNotes(generation, ledger, job, deps);
        await this.#care.drain(ledger, generation, deps);
      });
    }
  }

  /** What fails for another reason than an outage is tried again by the next recovery, and told. */
  async #unlessOutage(generation: Generation, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (this.isOutage(error, generation)) return;
      this.#log.error(
        { event: 'outcome.delayed', err: error },
        'outcomes could not be written to Redis; they stay in the journal until the next recovery',
      );
    }
  }

  /** The breaker opened: nothing is sent any more, and what was sent gets its end. */
  #endConnections(): void {
    this.#admission.hold();
    this.#producing.interrupted();
    this.#leases.watch();
    this.#watch.rest();
    const generation = this.#generation;
    if (!generation?.alive) return;
    this.#lastAliveAt = generation.serverNow();
    // A full server answers, and settles free its memory: that connection stays until the next one.
    if (this.#state.condition !== 'out-of-memory') generation.destroy();
  }

  #moved(from: BreakerState, to: BreakerState): void {
    const condition = to.state === 'closed' ? undefined : to.trouble.name;
    if (from.state === 'closed' && condition !== undefined) {
      const silentMs = SILENT.has(condition) ? this.clock.now() - this.#watch.answeredAt : 0;
      this.outages.opened(condition, this.#heldCount(), silentMs);
    }
    const breaker = to.state === 'recovering' ? 'half-open' : to.state;
    // Half-open and another reason are moments of one outage.
    const changed = (breaker === 'closed') !== (this.#state.breaker === 'closed');
    this.#state = {
      breaker,
      condition,
      outageId: this.outages.current?.id,
      since: changed ? this.clock.wall() : this.#state.since,
    };
    for (const listener of this.#stateListeners) listener(this.#state);
    this.#producing.changed();
  }

  #heldCount(): number {
    let held = 0;
    for (const ledger of this.#ledgers.values()) held += ledger.held.size + ledger.unsettled.size;
    return held;
  }

  // Watching -----------------------------------------------------------------------------------------

  isOutage(error: unknown, generation: Generation, isOwnVerdict = false): boolean {
    if (!generation.alive || generation !== this.#generation) return true;
    const condition = conditionIn(error);
    if (condition === undefined) return false;
    const silentMs = this.clock.now() - this.#watch.answeredAt;
    if (condition === 'half-open' && silentMs > this.patienceMs() && !isOwnVerdict) {
      // The other connection is silent too: whether it is the server is told by the next answer.
      void generation.serverTime().then(
        () => this.isOutage(error, generation, true),
        () => undefined,
      );
      return true;
    }
    const trouble = { name: condition, pace: conditions[condition].pace };
    this.#breaker.failure(trouble);
    this.outages.saw(condition, textOf(error));
    return true;
  }

  #troubleOf(error: unknown): Trouble {
    // A server that never answered a handshake is more likely a plain port than a frozen one.
    const isPlainPort =
      error instanceof ProbeTimeout && error.isHandshake && !this.#admission.everOpen;
    const name = isPlainPort ? 'tls' : (conditionIn(error) ?? 'refused');
    // Absent since our start: that is an outage too, and told like one.
    if (!this.#admission.everOpen && !this.outages.current) {
      this.outages.opened(name, this.#heldCount());
    }
    this.outages.saw(name, textOf(error));
    return { name, pace: conditions[name].pace };
  }

  // For backends -------------------------------------------------------------------------------------

  ledger(prefix: string, queue: string): QueueLedger {
    const name = `${prefix}:${queue}`;
    let ledger = this.#ledgers.get(name);
    if (!ledger) {
      ledger = new QueueLedger(prefix, queue);
      this.#ledgers.set(name, ledger);
    }
    return ledger;
  }

  consumes(ledger: QueueLedger, concurrency: number): void {
    ledger.concurrency = concurrency;
  }

  bullConnection(): unknown {
    return bullmqConnection({
      client: () => this.generation()?.adapted,
      identity: () => this.#identity,
      unavailable: () => this.unavailable('a command'),
    });
  }

  generation(): Generation | undefined {
    return this.#admission.generation;
  }

  settlingGeneration(): Generation | undefined {
    const generation = this.#generation;
    return this.#state.condition === 'out-of-memory' && generation?.alive ? generation : undefined;
  }

  wasEverClosed(): boolean {
    return this.#admission.everOpen;
  }

  admitted(signal: AbortSignal): Promise<Generation | undefined> {
    return this.#admission.admitted(signal);
  }

  mayTake(ledger: QueueLedger): boolean {
    return this.#admission.mayTake(ledger);
  }

  admittedToTake(ledger: QueueLedger, signal: AbortSignal): Promise<Generation | undefined> {
    return this.#admission.admittedToTake(ledger, signal);
  }

  mayFetchWithSettle(ledger: QueueLedger): boolean {
    return this.#admission.mayFetchWithSettle(ledger);
  }

  ready(ledger: QueueLedger, generation: Generation): Promise<void> {
    return this.#care.ready(ledger, generation);
  }

  send(
    generation: Generation,
    ledger: QueueLedger,
    script: string,
    args: readonly unknown[],
  ): Promise<unknown> {
    return this.#care.send(generation, ledger, script, args);
  }

  fenceMs(): number {
    return this.#config.resilience.pulseIntervalMs + this.#watch.timeoutMs + FENCE_SLACK_MS;
  }

  patienceMs(): number {
    return Math.max(PATIENCE_MS, 3 * this.#watch.roundTripMs);
  }

  unavailable(operation: string): RedisUnavailableError {
    const { condition, outageId } = this.#state;
    return new RedisUnavailableError(operation, condition ?? 'reset', outageId);
  }

  takeFromJournal(ledger: QueueLedger, token: string): Promise<unknown> {
    return this.#islands.take(ledger, token);
  }

  workInJournal(ledger: QueueLedger, signal: AbortSignal): Promise<void> | undefined {
    return this.#islands.work(ledger, signal);
  }

  blockingClient(generation: Generation, owner: object): Promise<Redis | Cluster> {
    return this.#blocking.of(generation, owner);
  }

  dropBlockingClient(generation: Generation, owner: object): void {
    this.#blocking.drop(generation, owner);
  }

  async journalOutcome(ledger: QueueLedger, settlement: Settlement): Promise<void> {
    await this.#settlements.keep(ledger, settlement);
    this.outages.count('journaled');
    this.#islands.ended(settlement);
    const generation = this.generation();
    if (!generation) return;
    // The outage was over before this came in: nobody else would write it.
    await this.#unlessOutage(generation, () =>
      this.#care.drain(ledger, generation, this.#recoveryDeps()),
    );
  }

  tookJob(): void {
    this.outages.firstJob();
  }

  acknowledged(ledger: QueueLedger, settlement: Settlement): void {
    this.#settlements.acknowledged(ledger, settlement);
  }

  async verdictOn(ledger: QueueLedger, job: HeldJob): Promise<Verdict | 'unknown'> {
    const generation = this.generation();
    if (!generation) return 'unknown';
    try {
      return await this.#care.verdictOn(ledger, job, generation);
    } catch (error) {
      if (this.isOutage(error, generation)) return 'unknown';
      throw error;
    }
  }

  lockLost(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void {
    this.#leases.lost(ledger, job, verdict);
  }

  outcomeDropped(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void {
    this.#settlements.dropped(ledger, job, verdict);
    this.#leases.dropped(ledger, job);
  }

  // Recovery's tools ---------------------------------------------------------------------------------

  #recoveryDeps(): RecoveryDeps {
    return {
      clock: this.clock,
      processId: this.processId,
      holdMs: HOLD_MS,
      barrierMs: this.#config.resilience.backoffCapMinMs + BARRIER_MARGIN_MS,
      guardMs,
      fenceMs: () => this.fenceMs(),
      send: (generation, ledger, script, args) => this.send(generation, ledger, script, args),
      makeNextRun: (generation, ledger, update) =>
        this.#care.makeNextRun(generation, ledger, update),
      isOutage: (error, generation) => this.isOutage(error, generation),
      settled: (ledger, outcomes) => this.#settlements.settled(ledger, outcomes),
      refused: (ledger, outcome, reason) => this.#settlements.refused(ledger, outcome, reason),
      lockLost: (ledger, job, verdict) => this.lockLost(ledger, job, verdict),
      outcomeDropped: (ledger, job, verdict) => this.outcomeDropped(ledger, job, verdict),
    };
  }

  async #barrierStands(ledger: QueueLedger, generation: Generation): Promise<boolean> {
    try {
      return (await generation.client.exists(ledger.key('barrier'))) === 1;
    } catch (error) {
      if (this.isOutage(error, generation)) return true;
      throw error;
    }
  }

  /** In the slot of a queue that is used here, so that a Cluster's answer is worth something. */
  #probeKey(): string {
    const first = this.#ledgers.values().next().value;
    return first
      ? first.key(`probe:${this.processId}`)
      : `${this.#config.redis.prefix}:holdfast:probe:${this.processId}`;
  }
}

function guardMs(ledger: QueueLedger): number {
  return ledger.concurrency > 0 ? GUARD_MS : 0;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
