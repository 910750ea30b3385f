/**
 * The way back, as the breaker asks for it: tries the real thing, has recovery take back what is ours,
 * lets everybody go on, and does afterwards what nobody needs to wait for. Keeps what must be known from
 * one life of the connections to the next: who the server was, and when it was last heard.
 *
 * What it must never do: admit anybody before recovery is done.
 */
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { OutageRecorder } from '../outage/recorder.ts';
import { compareIdentity, type IdentityChange, type ServerIdentity } from '../redis/identity.ts';
import { destroyClient, type ProbePassed, probe } from '../redis/probe.ts';
import type { Clock, Instant } from '../time.ts';
import type { Admission } from './admission.ts';
import type { Adoption } from './adoption.ts';
import { Asides, type Missed, NOTHING_MISSED } from './asides.ts';
import { agreeOnOutage } from './fleet-outage.ts';
import { Generation } from './generation.ts';
import { ALIVE_MS } from './heartbeat.ts';
import type { Islands } from './island.ts';
import type { Leases } from './leases.ts';
import type { QueueLedger } from './ledger.ts';
import type { Ledgers } from './ledgers.ts';
import { writeNotes } from './notes.ts';
import type { Producing } from './producing.ts';
import type { QueueCare } from './queue-care.ts';
import { type RecoveryDeps, type RecoveryReport, recover } from './recovery.ts';
import { findingsOf } from './recovery-findings.ts';
import { guardMs } from './retake.ts';
import type { Settlements } from './settlements.ts';
import type { TargetCore } from './target-core.ts';
import type { Watch } from './watch.ts';

export interface ComebackDeps {
  clock: Clock;
  log: Logger;
  config: Pick<Config, 'redis'>;
  outages: OutageRecorder;
  ledgers: Ledgers;
  admission: Admission;
  leases: Leases;
  settlements: Settlements;
  watch: Watch;
  care: QueueCare;
  adoption: Adoption;
  /** What is made later, since it asks for connections. */
  later(): { core: TargetCore; islands: Islands; producing: Producing };
  onMembers(count: number): void;
  /** How long another replica may pause between two probes now, ms. */
  pauseMaxMs(): number;
}

/** Each step of a probe may take this long, ms: a server that swallows replies must not hold it. */
export const PROBE_STEP_MS = 3000;
/** The first probe of all: what is wrong at the start is to be named within 3 s; the next waits longer, ms. */
const FIRST_PROBE_STEP_MS = 2400;
/** The fleet's stalled checks wait this long after an outage that outlived locks, ms. */
const HOLD_MS = 10_000;
/** Beyond the longest pause of a probe, the fleet's barrier stands this much longer, ms. */
const BARRIER_MARGIN_MS = 250;

export class Comeback {
  readonly #deps: ComebackDeps;
  #generation: Generation | undefined;
  /** The connections that were let go on last: alive, but ended by now for all but settles, if memory is full. */
  #admitted: Generation | undefined;
  /** The identity that recovery has dealt with; committed only after healing. */
  #identity: ServerIdentity | undefined;
  #hasProbed = false;
  #passed: ProbePassed | undefined;
  /** Server time (ms) of the last sign of life before the outage; 0 before the first connection. */
  #lastAliveAt = 0;
  /** When the server of `#identity` was last heard, monotonic. */
  #heardAt: Instant = 0;
  #recovery:
    | { change: IdentityChange; report: RecoveryReport; answeredAt: number; hasTakenBack: boolean }
    | undefined;
  readonly #asides: Asides;

  constructor(deps: ComebackDeps) {
    this.#deps = deps;
    const { clock, log, ledgers } = deps;
    this.#asides = new Asides({
      clock,
      log,
      ledgers: () => ledgers.all(),
      takeBack: (ledger, of) =>
        this.#takeBack(ledger, of).catch((error: unknown) => {
          if (deps.later().core.isOutage(error, of) || !ledger.aside) return;
          this.#asides.put(ledger, NOTHING_MISSED, error);
        }),
    });
  }

  /** The connections of now, admitted or in recovery; they may have ended. */
  get generation(): Generation | undefined {
    return this.#generation;
  }

  /** Those on which settles pass while memory is full; not those of a recovery. */
  get settling(): Generation | undefined {
    return this.#generation === this.#admitted ? this.#admitted : undefined;
  }

  get identity(): ServerIdentity | undefined {
    return this.#identity;
  }

  /** One try of the real thing. */
  async probe(signal: AbortSignal): Promise<void> {
    const { clock, outages, watch, admission } = this.#deps;
    watch.takeReason();
    outages.count('probes');
    const stepMs = this.#hasProbed ? PROBE_STEP_MS : FIRST_PROBE_STEP_MS;
    this.#hasProbed = true;
    const passed = await probe({
      connect: () => watch.connect('probe'),
      clock,
      probeKey: this.#probeKey(),
      stepTimeoutMs: Math.max(stepMs, 3 * watch.roundTripMs),
      signal,
      isFirst: !admission.everOpen,
    });
    if (this.#passed) destroyClient(this.#passed.client);
    this.#passed = passed;
  }

  async recover(): Promise<void> {
    try {
      await this.#recoverAll();
    } catch (error) {
      this.#deps.later().islands.rest();
      throw error;
    }
  }

  async #recoverAll(): Promise<void> {
    const { clock, ledgers, watch, care, adoption, later, onMembers } = this.#deps;
    const passed = this.#passed!;
    this.#passed = undefined;
    this.#generation?.destroy();
    const generation = new Generation(passed.client, passed.clockOffset, clock, this.#probeKey());
    this.#generation = generation;
    watch.roundTripMs = passed.roundTripMs;
    // Recovery has no other deadline: a server that falls silent in the middle of it is seen by this.
    watch.begin(generation);
    await adoption.inRecovery();
    const { identity, answeredAt } = passed;
    const change = compareIdentity(this.#identity, identity, answeredAt - this.#heardAt);
    const aliveFrom = this.#lastAliveAt > 0 ? this.#lastAliveAt - ALIVE_MS : generation.serverNow();
    const missed = { change, aliveFrom };
    const broken = await this.#asides.look([...ledgers.all()], generation, missed);
    await later().islands.bring(generation, (ledger) => broken.has(ledger));
    const all = [...ledgers.all()].filter((ledger) => !broken.has(ledger));
    const input = { generation, identity, ledgers: all, ...missed };
    const report = await recover(input, this.#recoveryDeps(missed, broken));
    if (!generation.alive) throw watch.takeReason();
    this.#identity = identity;
    const back = all.filter((ledger) => ledger.aside && !broken.has(ledger));
    for (const ledger of back) this.#asides.back(ledger);
    care.isReady(all, generation);
    onMembers(Math.max(1, report.members));
    this.#recovery = { change, report, answeredAt, hasTakenBack: back.length > 0 };
  }

  /**
   * One queue that was set aside, as all are taken back, while all others work.
   * @throws what Redis says
   */
  async #takeBack(ledger: QueueLedger, generation: Generation): Promise<void> {
    const { care, later } = this.#deps;
    const { islands, producing } = later();
    const broken = await this.#asides.look([ledger], generation, NOTHING_MISSED);
    if (broken.size > 0) return;
    await islands.bringOf(ledger, generation);
    const input = { generation, identity: this.#identity!, ledgers: [ledger], ...NOTHING_MISSED };
    await recover(input, this.#recoveryDeps(NOTHING_MISSED, broken));
    if (broken.size > 0 || !generation.alive) return;
    // Nobody comes between these.
    this.#asides.back(ledger);
    care.isReady([ledger], generation);
    islands.admitted();
    this.#restLeases();
    await producing.takenBack(ledger, generation);
    await this.#afterwardsOf(ledger, generation);
  }

  /** Locks are renewed again, but for queues that are set aside. */
  #restLeases(): void {
    const { ledgers, leases } = this.#deps;
    for (const { aside } of ledgers.all()) if (aside) return;
    leases.rest();
  }

  /** The breaker closed: everybody may go on. */
  admit(): void {
    const { admission, adoption, later } = this.#deps;
    const { islands, producing } = later();
    const generation = this.#generation!;
    this.#admitted = generation;
    this.#restLeases();
    this.#tellEnd();
    admission.admit(generation);
    islands.admitted();
    const { change, hasTakenBack } = this.#recovery!;
    void producing.admitted(generation, change === 'same' && !hasTakenBack);
    adoption.admitted();
    this.#asides.watch(generation);
    void this.#afterwards(generation);
  }

  #tellEnd(): void {
    const { outages, watch } = this.#deps;
    const { change, report, answeredAt } = this.#recovery!;
    for (const { name, evidence } of findingsOf(change, report, watch.roundTripMs)) {
      outages.found(name, evidence);
    }
    const { replayed, healed, locksRetaken, pulledBack, handedBack, runsLost } = report;
    const counts = { replayed, healed, locksRetaken, pulledBack, handedBack, runsLost };
    outages.closed(change, counts, answeredAt, this.#agree());
  }

  /** One id for the fleet's outage; a failure of it is harmless. */
  async #agree(): Promise<string | undefined> {
    const { clock, config, outages } = this.#deps;
    const { current, openedAt } = outages;
    const generation = this.#generation;
    if (!current || !generation?.alive) return undefined;
    const own = { id: current.id, sinceMs: clock.now() - openedAt };
    return await agreeOnOutage(generation.client, config.redis.prefix, own).catch(() => undefined);
  }

  /** What nobody needs to wait for: notes of running jobs, and outcomes that came in meanwhile. */
  async #afterwards(generation: Generation): Promise<void> {
    for (const ledger of this.#deps.ledgers.all()) {
      if (!ledger.aside) await this.#afterwardsOf(ledger, generation);
    }
  }

  async #afterwardsOf(ledger: QueueLedger, generation: Generation): Promise<void> {
    const { care } = this.#deps;
    const deps = this.#recoveryDeps();
    void this.#unlessOutage(generation, () => care.watchUndone(ledger, generation, deps));
    await this.#unlessOutage(generation, async () => {
      for (const job of ledger.held.values()) await writeNotes(generation, ledger, job, deps);
      await care.drain(ledger, generation, deps);
    });
  }

  /** Writes outcomes that came in after the recovery: nobody else would. */
  async drain(ledger: QueueLedger, generation: Generation): Promise<void> {
    const { care } = this.#deps;
    await this.#unlessOutage(generation, () =>
      care.drain(ledger, generation, this.#recoveryDeps()),
    );
  }

  /** What fails for another reason than an outage is tried again by the next recovery, and told. */
  async #unlessOutage(generation: Generation, work: () => Promise<void>): Promise<void> {
    const { log, later } = this.#deps;
    try {
      await work();
    } catch (error) {
      if (later().core.isOutage(error, generation)) return;
      log.error(
        { event: 'outcome.delayed', err: error },
        'outcomes could not be written to Redis; they stay in the journal until the next recovery',
      );
    }
  }

  /** The breaker opened: what was sent gets its end, unless `isKept` for settles. */
  end(isKept: boolean): void {
    this.#asides.rest();
    const generation = this.#generation;
    if (!generation?.alive) return;
    // In a recovery that is struck nobody has seen more of the fleet than before it.
    const wasAdmitted = generation === this.#admitted;
    if (wasAdmitted) {
      this.#lastAliveAt = generation.serverNow();
      this.#heardAt = this.#deps.watch.answeredAt;
    }
    if (!isKept || !wasAdmitted) generation.destroy();
  }

  /** For good: no connection is left. */
  stop(): void {
    this.#generation?.destroy();
    if (this.#passed) destroyClient(this.#passed.client);
  }

  /** Queues that a recovery sets aside go to `broken`; where none is retaken there is nothing to set aside. */
  #recoveryDeps(missed: Missed = NOTHING_MISSED, broken = new Set<QueueLedger>()): RecoveryDeps {
    const { clock, pauseMaxMs, care, settlements, later } = this.#deps;
    const { core } = later();
    return {
      clock,
      processId: core.processId,
      holdMs: HOLD_MS,
      barrierMs: pauseMaxMs() + BARRIER_MARGIN_MS,
      guardMs: (ledger) => guardMs(ledger, clock.now()),
      fenceMs: () => core.fenceMs(),
      send: (generation, ledger, script, args) => core.send(generation, ledger, script, args),
      makeNextRun: (generation, ledger, update) => care.makeNextRun(generation, ledger, update),
      isOutage: (error, generation) => core.isOutage(error, generation),
      settled: (ledger, outcomes) => settlements.settled(ledger, outcomes),
      refused: (ledger, outcome, reason) => settlements.refused(ledger, outcome, reason),
      setAside: (ledger, error) => {
        broken.add(ledger);
        this.#asides.put(ledger, missed, error);
      },
      lockLost: (ledger, job, verdict) => core.lockLost(ledger, job, verdict),
      outcomeDropped: (ledger, job, verdict) => core.outcomeDropped(ledger, job, verdict),
    };
  }

  /** In the slot of a queue that is used here, so that a Cluster's answer is worth something. */
  #probeKey(): string {
    const { ledgers, config, later } = this.#deps;
    const { processId } = later().core;
    const [first] = ledgers.all();
    return first
      ? first.key(`probe:${processId}`)
      : `${config.redis.prefix}:holdfast:probe:${processId}`;
  }
}
