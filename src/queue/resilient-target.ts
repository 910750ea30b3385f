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
import { type ConditionName, conditionOf, conditions } from '../redis/conditions.ts';
import { createRedisClient } from '../redis/connect.ts';
import { compareIdentity, type IdentityChange, type ServerIdentity } from '../redis/identity.ts';
import { destroyClient, type ProbePassed, probe } from '../redis/probe.ts';
import { Pulse } from '../redis/pulse.ts';
import { type Clock, type Random, systemClock, systemRandom } from '../time.ts';
import { Admission } from './admission.ts';
import { BlockingClients } from './blocking-clients.ts';
import { commandName, fenceArgs, isFenced } from './fenced-scripts.ts';
import { Generation } from './generation.ts';
import { Heartbeat } from './heartbeat.ts';
import { type HeldJob, type Outcome, QueueLedger } from './ledger.ts';
import { fencedReason } from './lua/fence.ts';
import { type RecoveryDeps, type RecoveryReport, recover, replay, writeNotes } from './recovery.ts';
import { type BackendOptions, ResilientBackend } from './resilient-backend.ts';
import { retake } from './retake.ts';
import { Settlements } from './settlements.ts';
import type { RedisTarget, TargetState } from './target.ts';
import type { Settlement, TargetCore, Verdict } from './target-core.ts';

/** Answer for a producer while Redis is away: within this time, ms. */
const ANSWER_MS = 2000;
/** Each step of a probe may take this long, ms: 3 s kept a server that swallows replies from holding it. */
const PROBE_STEP_MS = 3000;
/** The fleet's stalled checks wait this long after an outage that outlived locks, ms. */
const HOLD_MS = 10_000;
/** Beyond the reopen cap, the fleet's barrier stands this much longer, ms. */
const BARRIER_MARGIN_MS = 250;
/** Plain BullMQ workers leave stalled jobs to us through outages of this length, ms. */
const GUARD_MS = 10 * 60_000;
/** A command may act this long after it was given up at the earliest, ms (pulse, its deadline, slack). */
const FENCE_SLACK_MS = 500;
/** A script that came late is sent again, after the clocks were compared, this often. */
const LATE_RETRIES = 3;

export interface ResilientTargetOptions {
  config: Config;
  log: Logger;
  journal: Journal;
  clock?: Clock;
  random?: Random;
  /** Makes a client that never reconnects by itself; tests may count them. */
  connect?: (purpose: 'probe' | 'blocking') => Redis | Cluster;
}

export type LockListener = (event: {
  type: 'lost' | 'expiring';
  queue: string;
  jobId: string;
}) => void;

export class ResilientTarget implements RedisTarget, TargetCore {
  readonly processId = randomUUID();
  readonly answerMs = ANSWER_MS;
  readonly clock: Clock;
  readonly connection: ConnectionOptions = {};
  readonly backendFactory: BackendFactory<RedisQueueBackend>;

  readonly #config: Config;
  readonly #log: Logger;
  readonly #journal: Journal;
  readonly #breaker: Breaker;
  readonly #admission: Admission;
  readonly #settlements: Settlements;
  readonly #blocking: BlockingClients;
  readonly #heartbeat: Heartbeat;
  readonly #connect: (purpose: 'probe' | 'blocking') => Redis | Cluster;
  readonly #ledgers = new Map<string, QueueLedger>();
  readonly #lockListeners = new Set<LockListener>();
  readonly #stateListeners = new Set<(state: TargetState) => void>();
  readonly #readyIn = new WeakMap<QueueLedger, { generation: Generation; ready: Promise<void> }>();

  #generation: Generation | undefined;
  #pulse: Pulse | undefined;
  #roundTripMs = 0;
  /** The identity that recovery has dealt with; committed only after healing. */
  #identity: ServerIdentity | undefined;
  #passed: ProbePassed | undefined;
  /** Server time (ms) of the last sign of life before the outage. */
  #lastAliveAt = 0;
  #lastError: unknown;
  #replicas = 1;

  constructor(options: ResilientTargetOptions) {
    this.#config = options.config;
    this.#log = options.log;
    this.#journal = options.journal;
    this.clock = options.clock ?? systemClock;
    const { resilience, redis } = options.config;
    this.#connect =
      options.connect ??
      ((purpose) =>
        createRedisClient(redis, purpose, {
          retryPace: () => null,
          overrides: { lazyConnect: true },
          onError: (error) => {
            this.#lastError = error;
          },
        }));
    this.#admission = new Admission(this.clock, resilience.slowStartMs, (ledger, generation) =>
      this.#barrierStands(ledger, generation),
    );
    this.#settlements = new Settlements(
      this.#journal,
      this.clock,
      resilience.rollbackWindowMs,
      this.#log,
    );
    this.#blocking = new BlockingClients(
      () => this.#connect('blocking'),
      PROBE_STEP_MS,
      (error, generation) => this.isOutage(error, generation),
    );
    this.#heartbeat = new Heartbeat({
      clock: this.clock,
      processId: this.processId,
      ledgers: () => this.#ledgers.values(),
      guardMs: (ledger) => this.#guardMs(ledger),
      generation: () => this.generation(),
      onError: (error, generation) => this.isOutage(error, generation),
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
      troubleOf: (error) => troubleOf(this.#conditionOf(error) ?? 'refused'),
      endConnections: () => this.#endGeneration(),
      admit: () => this.#admit(),
      onTransition: (from, to) => this.#moved(from, to),
    });
    this.backendFactory = ((name: string, opts: BackendOptions, extra?: object) =>
      new ResilientBackend(
        this,
        name,
        { ...opts, prefix: opts.prefix ?? redis.prefix },
        extra && 'withBlockingConnection' in extra ? 'worker' : 'producer',
      )) as unknown as BackendFactory<RedisQueueBackend>;
  }

  // Life ---------------------------------------------------------------------------------------------

  async start(): Promise<void> {
    for await (const entry of this.#journal.outcomes()) {
      this.#settlements.adopt((prefix, queue) => this.ledger(prefix, queue), [entry]);
    }
    this.#breaker.start();
    this.#heartbeat.start();
  }

  async stop(deadline: number): Promise<void> {
    this.#heartbeat.stop();
    this.#breaker.stop();
    const generation = this.#generation;
    if (generation?.alive) await this.#sayGoodbye(generation, deadline);
    this.#endGeneration();
    if (this.#passed) destroyClient(this.#passed.client);
  }

  /** Our keys go, so that nobody waits for us; a server that does not answer is not waited for. */
  async #sayGoodbye(generation: Generation, deadline: number): Promise<void> {
    const pipeline = generation.client.pipeline();
    for (const ledger of this.#ledgers.values()) {
      pipeline.zrem(ledger.key('members'), this.processId);
      pipeline.del(ledger.key(`epoch:${this.processId}`));
    }
    const done = pipeline.exec().catch(() => undefined);
    await Promise.race([
      done,
      new Promise((resolve) =>
        this.clock.after(Math.max(0, Math.min(500, deadline - this.clock.now())), () =>
          resolve(undefined),
        ),
      ),
    ]);
  }

  state(): TargetState {
    return this.#state;
  }

  onChange(listener: (state: TargetState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  /** Hears of locks that were lost to another worker, or are about to expire in an outage. */
  onLock(listener: LockListener): () => void {
    this.#lockListeners.add(listener);
    return () => this.#lockListeners.delete(listener);
  }

  // The breaker's hands ------------------------------------------------------------------------------

  /** One try of the real thing. @throws the error that the breaker's condition is told from */
  async #probe(signal: AbortSignal): Promise<void> {
    const passed = await probe({
      connect: () => this.#connect('probe'),
      clock: this.clock,
      probeKey: this.#probeKey(),
      stepTimeoutMs: Math.max(PROBE_STEP_MS, 3 * this.#roundTripMs),
      signal,
    });
    if (this.#passed) destroyClient(this.#passed.client);
    this.#passed = passed;
  }

  async #recover(): Promise<void> {
    const passed = this.#passed;
    if (!passed) throw new Error('recovery without a passed probe');
    this.#passed = undefined;
    this.#generation?.destroy();
    const generation = new Generation(passed.client, passed.clockOffset, this.clock);
    this.#generation = generation;
    this.#roundTripMs = passed.roundTripMs;
    this.#listen(generation);
    const change = compareIdentity(this.#identity, passed.identity);
    const report = await recover(
      {
        generation,
        identity: passed.identity,
        change,
        ledgers: [...this.#ledgers.values()],
        aliveFrom: this.#lastAliveAt > 0 ? this.#lastAliveAt - 2 * 5000 : generation.serverNow(),
      },
      this.#recoveryDeps(),
    );
    if (!generation.alive) throw this.#lastError ?? new Error('Connection is closed.');
    this.#identity = passed.identity;
    for (const ledger of this.#ledgers.values()) {
      this.#readyIn.set(ledger, { generation, ready: Promise.resolve() });
    }
    this.#lastReport = { change, report };
  }

  #lastReport: { change: IdentityChange; report: RecoveryReport } | undefined;

  /** The breaker closed: everybody may go on. */
  #admit(): void {
    const generation = this.#generation;
    if (!generation?.alive) return;
    this.#startPulse(generation);
    this.#admission.admit(generation);
    void this.#afterwards(generation);
  }

  /** What nobody needs to wait for: notes of running jobs, and outcomes that came in meanwhile. */
  async #afterwards(generation: Generation): Promise<void> {
    try {
      for (const ledger of this.#ledgers.values()) {
        for (const job of ledger.held.values()) {
          await writeNotes(generation, ledger, job, this.#recoveryDeps());
        }
        if (ledger.unsettled.size > 0) await this.#drain(ledger, generation);
      }
    } catch (error) {
      this.isOutage(error, generation);
    }
  }

  /** The breaker opened: nothing is sent any more, and what was sent gets its end. */
  #endGeneration(): void {
    this.#admission.hold();
    this.#pulse?.stop();
    this.#pulse = undefined;
    const generation = this.#generation;
    if (!generation) return;
    this.#lastAliveAt = generation.serverNow();
    // A full server answers, and settles free its memory: that connection stays until the next one.
    if (this.#state.condition !== 'out-of-memory') generation.destroy();
  }

  #listen(generation: Generation): void {
    const { client } = generation;
    client.on('error', (error: unknown) => {
      this.#lastError = error;
    });
    client.on('close', () => {
      const error = this.#lastError ?? new Error('Connection is closed.');
      this.#lastError = undefined;
      this.isOutage(error, generation);
    });
  }

  #startPulse(generation: Generation): void {
    const { pulseIntervalMs, pulseTimeoutMs } = this.#config.resilience;
    this.#pulse?.stop();
    this.#pulse = new Pulse(
      {
        clock: this.clock,
        intervalMs: pulseIntervalMs,
        timeoutMs: pulseTimeoutMs,
        ask: async () => {
          const [seconds, micros] = (await generation.client.time()) as unknown as [string, string];
          return Number(seconds) * 1000 + Number(micros) / 1000;
        },
        onAnswer: ({ clockOffset, roundTripMs }) => {
          generation.setClockOffset(clockOffset);
          this.#roundTripMs = roundTripMs;
        },
        onMissed: (silentMs) => {
          this.isOutage(
            Object.assign(new Error(`no answer for ${Math.round(silentMs)} ms`), {
              code: 'EFROZEN',
            }),
            generation,
          );
        },
        onError: (error) => this.isOutage(error, generation),
        onLoopBlocked: (blockedMs) => this.#loopBlocked(blockedMs),
      },
      this.#roundTripMs,
    );
    this.#pulse.start();
  }

  #loopBlocked(blockedMs: number): void {
    const running = [...this.#ledgers.values()].flatMap((ledger) =>
      [...ledger.held.values()].map((job) => ({ queue: ledger.queue, jobId: job.id })),
    );
    this.#log.warn(
      {
        event: 'event_loop.blocked',
        condition: 'event-loop-blocked',
        blockedMs,
        jobs: running.slice(0, 5),
      },
      `the event loop stood still for ${Math.round(blockedMs)} ms: a handler computes without awaiting; move the work to a worker thread`,
    );
  }

  #state: TargetState = {
    breaker: 'open',
    condition: 'connecting',
    outageId: undefined,
    since: 0,
  };

  #moved(_from: BreakerState, to: BreakerState): void {
    this.#state = {
      breaker: to.state === 'recovering' ? 'half-open' : to.state,
      condition: to.state === 'closed' ? undefined : to.trouble.name,
      outageId: undefined,
      since: this.clock.wall(),
    };
    for (const listener of this.#stateListeners) listener(this.#state);
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

  async ready(ledger: QueueLedger, generation: Generation): Promise<void> {
    const present = this.#readyIn.get(ledger);
    if (present?.generation === generation) return await present.ready;
    const ready = this.#beginEpoch(ledger, generation);
    this.#readyIn.set(ledger, { generation, ready });
    ready.catch(() => {
      if (this.#readyIn.get(ledger)?.ready === ready) this.#readyIn.delete(ledger);
    });
    await ready;
  }

  /** A queue first used while the breaker is closed: nothing to take back, but an epoch to begin. */
  async #beginEpoch(ledger: QueueLedger, generation: Generation): Promise<void> {
    const epoch = `${this.processId}:first`;
    const reply = await this.#retake(ledger, generation, [], epoch);
    ledger.epoch = epoch;
    ledger.barrierUntil = this.clock.now() + reply.barrierMs;
  }

  fenceMs(): number {
    const { pulseIntervalMs, pulseTimeoutMs } = this.#config.resilience;
    return pulseIntervalMs + (this.#pulse?.timeoutMs ?? pulseTimeoutMs) + FENCE_SLACK_MS;
  }

  patienceMs(): number {
    return Math.max(750, 3 * this.#roundTripMs);
  }

  isOutage(error: unknown, generation: Generation): boolean {
    if (!generation.alive || generation !== this.#generation) return true;
    const condition = this.#conditionOf(error);
    if (condition === undefined) return false;
    this.#breaker.failure(troubleOf(condition));
    return true;
  }

  #conditionOf(error: unknown): ConditionName | undefined {
    if (fencedReason(error) === 'epoch') return 'data-lost';
    if (fencedReason(error) === 'late') return 'frozen';
    const code = (error as { code?: unknown } | null)?.code;
    if (code === 'EFROZEN') return 'frozen';
    if (code === 'EBLOCKED') return 'half-open';
    return conditionOf(error);
  }

  unavailable(operation: string): RedisUnavailableError {
    const { condition, outageId } = this.#state;
    return new RedisUnavailableError(operation, condition ?? 'connecting', outageId);
  }

  blockingClient(generation: Generation, owner: object): Promise<Redis | Cluster> {
    return this.#blocking.of(generation, owner);
  }

  dropBlockingClient(generation: Generation, owner: object): void {
    this.#blocking.drop(generation, owner);
  }

  async journalOutcome(ledger: QueueLedger, settlement: Settlement): Promise<void> {
    await this.#settlements.keep(ledger, settlement);
    const generation = this.generation();
    if (!generation) return;
    // The outage was over before this came in: nobody else would replay it.
    try {
      await this.#drain(ledger, generation);
    } catch (error) {
      this.isOutage(error, generation);
    }
  }

  acknowledged(ledger: QueueLedger, settlement: Settlement): void {
    this.#settlements.acknowledged(ledger, settlement);
  }

  async verdictOn(ledger: QueueLedger, job: HeldJob): Promise<Verdict | 'unknown'> {
    const generation = this.generation();
    if (!generation || ledger.epoch === undefined) return 'unknown';
    try {
      const reply = await this.#retake(ledger, generation, [job], ledger.epoch);
      const verdict = reply.verdicts[0]!;
      if (verdict === 'kept' || verdict === 'pulled') job.lockedAt = this.clock.now();
      return verdict;
    } catch (error) {
      if (this.isOutage(error, generation)) return 'unknown';
      throw error;
    }
  }

  lockLost(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void {
    this.#log.warn(
      { event: 'lock.lost', queue: ledger.queue, jobId: job.id, jobName: job.name, verdict },
      'another worker has the job: its run here is told to stop, its outcome will not be recorded',
    );
    for (const listener of this.#lockListeners) {
      listener({ type: 'lost', queue: ledger.queue, jobId: job.id });
    }
  }

  outcomeDropped(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void {
    this.#settlements.dropped(ledger, job, verdict);
  }

  // Recovery's tools ---------------------------------------------------------------------------------

  #recoveryDeps(): RecoveryDeps {
    return {
      clock: this.clock,
      processId: this.processId,
      holdMs: HOLD_MS,
      barrierMs: this.#config.resilience.backoffCapMinMs + BARRIER_MARGIN_MS,
      guardMs: (ledger) => this.#guardMs(ledger),
      fenceMs: () => this.fenceMs(),
      send: (generation, ledger, script, args) => this.send(generation, ledger, script, args),
      isOutage: (error, generation) => this.isOutage(error, generation),
      settled: (ledger, outcomes) => this.#settlements.settled(ledger, outcomes),
      refused: (ledger, outcome, reason) => this.#settlements.refused(ledger, outcome, reason),
      lockLost: (ledger, job, verdict) => this.lockLost(ledger, job, verdict),
      outcomeDropped: (ledger, job, verdict) => this.outcomeDropped(ledger, job, verdict),
    };
  }

  async send(
    generation: Generation,
    ledger: QueueLedger,
    script: string,
    args: readonly unknown[],
  ): Promise<unknown> {
    if (!isFenced(script)) {
      return await generation.adapted.runCommand(commandName(script), [...args] as never);
    }
    for (let tries = 1; ; tries += 1) {
      try {
        return await generation.adapted.runCommand(
          commandName(script),
          fenceArgs(script, args, {
            epochKey: ledger.key(`epoch:${this.processId}`),
            deadline: generation.serverNow() + this.fenceMs(),
            epoch: ledger.epoch ?? 'none',
          }) as never,
        );
      } catch (error) {
        if (fencedReason(error) !== 'late' || tries >= LATE_RETRIES) throw error;
        await this.#compareClocks(generation);
      }
    }
  }

  async #compareClocks(generation: Generation): Promise<void> {
    const before = this.clock.now();
    const [seconds, micros] = (await generation.client.time()) as unknown as [string, string];
    const middle = (before + this.clock.now()) / 2;
    generation.setClockOffset(Number(seconds) * 1000 + Number(micros) / 1000 - middle);
  }

  /** Outcomes that came in while, or after, a recovery ran. */
  async #drain(ledger: QueueLedger, generation: Generation): Promise<void> {
    const outcomes = [...ledger.unsettled.values()];
    if (outcomes.length === 0 || ledger.epoch === undefined) return;
    const reply = await this.#retake(
      ledger,
      generation,
      outcomes.map(({ job }) => job),
      ledger.epoch,
      'unsettled',
    );
    const ours: Outcome[] = [];
    for (const [i, outcome] of outcomes.entries()) {
      const verdict = reply.verdicts[i]!;
      if (verdict === 'kept' || verdict === 'pulled') ours.push(outcome);
      else {
        if (verdict === 'foreign' || verdict === 'replaced') {
          this.outcomeDropped(ledger, outcome.job, verdict);
        }
        await this.#settlements.settled(ledger, [outcome]);
      }
    }
    await replay(generation, ledger, ours, this.#recoveryDeps(), { refused: 0 });
  }

  #retake(
    ledger: QueueLedger,
    generation: Generation,
    jobs: readonly HeldJob[],
    epoch: string,
    mode: 'held' | 'unsettled' = 'held',
  ) {
    return retake(generation, ledger, {
      jobs: jobs.map((job) => ({ job, mode })),
      doubtful: [],
      epoch,
      member: this.processId,
      runId: this.#identity?.runId ?? '',
      identityChanged: false,
      expired: false,
      holdMs: 0,
      barrierMs: 0,
      guardMs: this.#guardMs(ledger),
      aliveFrom: 0,
      fenceMs: this.fenceMs(),
      processId: this.processId,
    });
  }

  #guardMs(ledger: QueueLedger): number {
    return ledger.concurrency > 0 ? GUARD_MS : 0;
  }

  async #barrierStands(ledger: QueueLedger, generation: Generation): Promise<boolean> {
    try {
      return (await generation.client.exists(ledger.key('barrier'))) === 1;
    } catch (error) {
      this.isOutage(error, generation);
      return true;
    }
  }

  #probeKey(): string {
    const first = this.#ledgers.values().next().value;
    return first
      ? first.key(`probe:${this.processId}`)
      : `${this.#config.redis.prefix}:holdfast:probe:${this.processId}`;
  }

  /** What `RedisQueueBackend` asks of a connection: the present client, or one that answers with no. */
  bullConnection(): unknown {
    const target = this;
    const offline = offlineClient(() => target.unavailable('a command'));
    return {
      get client() {
        return Promise.resolve(target.generation()?.adapted ?? offline);
      },
      get redisVersion() {
        return target.#identity?.version || '7.0.0';
      },
      get databaseType() {
        return target.#identity?.flavour ?? 'redis';
      },
      capabilities: { canDoubleTimeout: true, canBlockFor1Ms: false },
      on() {
        return this;
      },
    };
  }
}

function troubleOf(name: ConditionName): Trouble {
  return { name, pace: conditions[name].pace };
}

/** Rejects every command; its pipelines reject when they are executed. */
function offlineClient(error: () => Error): unknown {
  return new Proxy(
    {},
    {
      get(_target, property) {
        if (property === 'then') return undefined;
        if (property === '__bullmq_iredis') return true;
        if (property === 'pipeline' || property === 'multi') {
          return () => ({
            runCommand: () => undefined,
            exec: () => Promise.reject(error()),
          });
        }
        return () => Promise.reject(error());
      },
    },
  );
}
