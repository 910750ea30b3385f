/**
 * What a target is made of, put together once. The parts know each other by what they ask for, often of
 * one that is made after them; hence functions in many places where an object would do.
 */
import type { Logger } from 'pino';
import { pauseMax } from '../breaker/backoff.ts';
import { Breaker } from '../breaker/breaker.ts';
import type { Config } from '../config.ts';
import type { Journal } from '../journal/journal.ts';
import type { OutageCounts, OutageRecord } from '../outage/record.ts';
import { OutageRecorder } from '../outage/recorder.ts';
import type { OutageStore } from '../outage/store.ts';
import { conditionAnchor, describeCondition } from '../redis/condition-catalogue.ts';
import { type Clock, type Random, systemClock, systemRandom } from '../time.ts';
import { Admission } from './admission.ts';
import { Adoption } from './adoption.ts';
import { BackendCore } from './backend-core.ts';
import { BlockingClients } from './blocking-clients.ts';
import { Comeback, PROBE_STEP_MS } from './comeback.ts';
import { Detector } from './detector.ts';
import { EarlyWarnings } from './early-warnings.ts';
import { shareOutage } from './fleet-outage.ts';
import type { Generation } from './generation.ts';
import { Heartbeat } from './heartbeat.ts';
import { Islands } from './island.ts';
import { Leases } from './leases.ts';
import type { QueueLedger } from './ledger.ts';
import { Ledgers } from './ledgers.ts';
import { LockRenewal } from './lock-renewal.ts';
import { Producing } from './producing.ts';
import { QueueCare } from './queue-care.ts';
import { guardMs, lifeOf } from './retake.ts';
import { Settlements } from './settlements.ts';
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

/** What the parts ask of the target as a whole. */
interface TargetHooks {
  processId: string;
  /** The breaker opened: nothing is sent any more, and what was sent gets its end. */
  endConnections(): void;
}

export interface TargetParts {
  clock: Clock;
  ledgers: Ledgers;
  outages: OutageRecorder;
  admission: Admission;
  settlements: Settlements;
  leases: Leases;
  watch: Watch;
  detector: Detector;
  care: QueueCare;
  heartbeat: Heartbeat;
  warnings: EarlyWarnings;
  adoption: Adoption;
  comeback: Comeback;
  breaker: Breaker;
  islands: Islands;
  core: BackendCore;
  locks: LockRenewal;
  producing: Producing;
  /** Replicas of the fleet that live, as known before an outage. */
  replicas: number;
}

export function assembleTarget(options: ResilientTargetOptions, hooks: TargetHooks): TargetParts {
  const { config, log, journal } = options;
  const { resilience, redis } = config;
  const { processId } = hooks;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? systemRandom;
  // Filled below; nobody asks before all of it is there.
  const parts = { clock, replicas: 1 } as TargetParts;
  const ledgers = () => parts.ledgers.all();
  const guard = (ledger: QueueLedger) => guardMs(ledger, clock.now());
  /** The present connections while the breaker is closed. */
  const generation = () => parts.admission.generation;
  const isOutage = (error: unknown, of: Generation) => parts.detector.isOutage(error, of);

  /** For the fleet's post-mortem; a failure of it is harmless. */
  const share = async (record: OutageRecord): Promise<void> => {
    const { records } = options;
    const present = generation();
    const { fleetId } = record;
    if (!records || !present?.alive || fleetId === undefined) return;
    const stored = { ...records.stored(record), fleetId };
    await shareOutage(present.client, redis.prefix, stored).catch(() => undefined);
  };
  const barrierStands = async (ledger: QueueLedger, of: Generation): Promise<boolean> => {
    try {
      return (await of.client.exists(ledger.key('barrier'))) === 1;
    } catch (error) {
      if (isOutage(error, of)) return true;
      throw error;
    }
  };

  parts.ledgers = new Ledgers(clock, (ledger) => parts.producing.forget(ledger));
  parts.outages = new OutageRecorder({
    clock,
    log,
    describe: (name) => ({ ...describeCondition(name), docs: conditionAnchor(name) }),
    changed: (record) => options.records?.keep(record),
    told: (record) => void share(record),
    onCount: (what, by) => options.onCount?.(what, by),
  });
  parts.admission = new Admission(clock, resilience.slowStartMs, barrierStands);
  parts.settlements = new Settlements(journal, clock, resilience.rollbackWindowMs, log);
  parts.leases = new Leases(clock, log, ledgers);
  parts.watch = new Watch({
    clock,
    log,
    config,
    ledgers,
    ask: (of) => parts.heartbeat.ask(of),
    askBy: () => parts.heartbeat.dueAt,
    mayScout: () => parts.replicas <= resilience.attemptBudget / 2,
    onError: (error, of) => parts.detector.isOutage(error, of, true),
    onLate: (tookMs) => parts.detector.late(tookMs),
  });
  parts.detector = new Detector({
    clock,
    ledgers: parts.ledgers,
    outages: parts.outages,
    watch: parts.watch,
    generation: () => parts.comeback.generation,
    wasEverClosed: () => parts.admission.everOpen,
    failure: (trouble) => parts.breaker.failure(trouble),
    renamed: (from, trouble) => parts.breaker.renamed(from, trouble),
  });
  parts.care = new QueueCare({
    clock,
    processId,
    fenceMs: () => parts.core.fenceMs(),
    guardMs: guard,
    server: () => {
      const { identity } = parts.comeback;
      return identity ? lifeOf(identity) : '';
    },
  });
  const onMembers = (count: number) => {
    parts.replicas = count;
  };
  parts.heartbeat = new Heartbeat({
    clock,
    processId,
    ledgers,
    guardMs: guard,
    generation,
    onMembers,
  });
  parts.warnings = new EarlyWarnings({
    clock,
    log,
    generation,
    replicas: () => parts.replicas,
    roundTripMs: () => parts.watch.roundTripMs,
  });
  const backoff = {
    baseMs: resilience.backoffBaseMs,
    capMinMs: resilience.backoffCapMinMs,
    capMaxMs: resilience.backoffCapMaxMs,
    attemptBudget: resilience.attemptBudget,
  };
  const later = () => ({
    core: parts.core,
    islands: parts.islands,
    producing: parts.producing,
  });
  parts.adoption = new Adoption({
    clock,
    random,
    log,
    journal,
    ledgers: parts.ledgers,
    settlements: parts.settlements,
    later,
    generation,
    isOutage,
    drain: (ledger, of) => parts.comeback.drain(ledger, of),
    ...(options.adoptEveryMs === undefined ? {} : { everyMs: options.adoptEveryMs }),
  });
  parts.comeback = new Comeback({
    clock,
    log,
    config,
    outages: parts.outages,
    ledgers: parts.ledgers,
    admission: parts.admission,
    leases: parts.leases,
    settlements: parts.settlements,
    watch: parts.watch,
    care: parts.care,
    adoption: parts.adoption,
    later,
    onMembers,
    pauseMaxMs: () => {
      const { state } = parts.breaker;
      const pace = state.state === 'closed' ? 'fast' : state.trouble.pace;
      return pauseMax(pace, parts.replicas, backoff);
    },
  });
  parts.breaker = new Breaker({
    clock,
    random,
    backoff,
    replicas: () => parts.replicas,
    probe: (signal) => parts.comeback.probe(signal),
    recover: () => parts.comeback.recover(),
    troubleOf: (error) => parts.detector.troubleOf(error),
    endConnections: () => hooks.endConnections(),
    admit: () => parts.comeback.admit(),
    onTransition: (from, to) => {
      parts.detector.moved(from, to);
      parts.producing.changed();
    },
  });
  parts.islands = new Islands({
    clock,
    journal,
    log,
    ledger: (prefix, queue) => parts.ledgers.of(prefix, queue),
    generation,
    isAway: () => !generation() && !parts.core.settlingGeneration(),
    touched: () => parts.producing.touched,
    isOutage,
  });
  parts.core = new BackendCore({
    clock,
    processId,
    config,
    ledgers: parts.ledgers,
    outages: parts.outages,
    admission: parts.admission,
    detector: parts.detector,
    comeback: parts.comeback,
    watch: parts.watch,
    care: parts.care,
    adoption: parts.adoption,
    blocking: new BlockingClients(() => parts.watch.connect('blocking'), PROBE_STEP_MS, isOutage),
    islands: parts.islands,
    settlements: parts.settlements,
    leases: parts.leases,
    quietAfterMs: options.quietAfterMs,
  });
  parts.locks = new LockRenewal(parts.core, ledgers);
  parts.producing = new Producing({
    islands: parts.islands,
    core: parts.core,
    journal,
    log,
    prefix: redis.prefix,
    rollbackWindowMs: resilience.rollbackWindowMs,
    enqueueTimeoutMs: resilience.enqueueTimeoutMs,
    compareClocks: (of) => parts.care.compareClocks(of),
    roundTripMs: () => parts.watch.roundTripMs,
    isConnecting: () => !parts.admission.everOpen && !parts.outages.current,
    onAccepted: () => parts.outages.count('accepted'),
    owe: async (position, of) => {
      await parts.islands.ends.owe([position]);
      for (const ledger of ledgers()) {
        if (ledger.unsettled.size > 0) await parts.comeback.drain(ledger, of);
      }
    },
    onReturned: (jobs) => parts.outages.count('replayed', jobs),
    onReplayed: (jobs) => options.onCount?.('jobsReplayed', jobs),
  });
  return parts;
}
