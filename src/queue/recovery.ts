/**
 * Coming back, in the order that everything hangs on. When a probe has passed, and before any Worker
 * may take or recover work:
 *
 *   1. retake    one atomic script per queue: hold the fleet's stalled checks, take back the locks of
 *                what is in flight here or finished and not settled, hand back what a request without
 *                a reply took for us, begin a new epoch (what was sent before does nothing any more),
 *                and, if the server's identity changed, raise the fleet's barrier and pull back what
 *                the lost moments undid
 *   2. replay    the outcomes that Redis does not have, each job's notes before its outcome
 *   3. heal      the outcomes of the rollback window that the dataset lost, and the next runs of schedules
 *
 * Nothing here decides when to try; an error of the connection ends it, and the next passed probe
 * begins again. Every step may be repeated: retaking is idempotent, and a replay is checked against
 * the job's state first. What Redis says of one queue's data is no such error: that queue is set aside, and
 * taken back by a later recovery, which is told what the queue has missed.
 */
import type { IdentityChange, ServerIdentity } from '../redis/identity.ts';
import type { Clock } from '../time.ts';
import { isOfData, type Missed, missedBoth } from './asides.ts';
import type { Generation } from './generation.ts';
import type { HeldJob, Outcome, QueueLedger } from './ledger.ts';
import { hasNotes } from './notes.ts';
import { type Early, replay, replayParents } from './replay-outcomes.ts';
import {
  lifeOf,
  lockExpired,
  RAN_MS,
  type RetakeEntry,
  type RetakeMode,
  retake,
} from './retake.ts';
import type { Verdict } from './target-core.ts';

/** Outcomes may be noted in another order than Redis had them, by no more than this, ms. */
const OUT_OF_ORDER_MS = 1000;

export interface RecoveryDeps {
  clock: Clock;
  processId: string;
  /** Ms for which the fleet's stalled checks wait after an outage that outlived locks. */
  holdMs: number;
  /** Ms for which nobody takes work after the server's identity changed, at most. */
  barrierMs: number;
  /** Ms for which plain BullMQ workers leave stalled jobs to us. */
  guardMs(ledger: QueueLedger): number;
  fenceMs(): number;
  /** Sends one script of BullMQ's for a queue, fenced. */
  send(
    generation: Generation,
    ledger: QueueLedger,
    script: string,
    args: readonly unknown[],
  ): Promise<unknown>;
  /** Makes the next run of a schedule again: `updateJobScheduler` with these arguments. */
  makeNextRun(
    generation: Generation,
    ledger: QueueLedger,
    update: readonly unknown[],
  ): Promise<void>;
  isOutage(error: unknown, generation: Generation): boolean;
  /** Redis has these outcomes now. */
  settled(ledger: QueueLedger, outcomes: readonly Outcome[]): Promise<void>;
  /** Redis refuses this outcome for good: kept apart and reported. */
  refused(ledger: QueueLedger, outcome: Outcome, reason: string): Promise<void>;
  /** Redis refuses what is asked about the queue, whose data is broken. */
  setAside(ledger: QueueLedger, error: unknown): void;
  lockLost(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void;
  outcomeDropped(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void;
}

export interface RecoveryInput extends Missed {
  generation: Generation;
  identity: ServerIdentity;
  change: IdentityChange;
  ledgers: Iterable<QueueLedger>;
  /** Server time (ms) of the fleet's last sign of life before the outage. */
  aliveFrom: number;
}

/** What a recovery found and did, for the outage record. */
export interface RecoveryReport {
  locksRetaken: number;
  /** Jobs pulled back from states that they had before we took them. */
  pulledBack: number;
  handedBack: number;
  replayed: number;
  /** Settled outcomes that the dataset had lost, written again. */
  healed: number;
  runsLost: number;
  refused: number;
  /** Queues in which our epoch was gone: the dataset is not the one we knew. */
  epochsGone: number;
  members: number;
}

export async function recover(input: RecoveryInput, deps: RecoveryDeps): Promise<RecoveryReport> {
  const report: RecoveryReport = {
    locksRetaken: 0,
    pulledBack: 0,
    handedBack: 0,
    replayed: 0,
    healed: 0,
    runsLost: 0,
    refused: 0,
    epochsGone: 0,
    members: 0,
  };
  const began = deps.clock.wall();
  const retaken: Retaken[] = [];
  for (const ledger of input.ledgers) {
    const { change, aliveFrom } = missedBoth(ledger, input);
    const own = { ...input, change, aliveFrom };
    try {
      const found = await retakeQueue(own, ledger, deps, report);
      await limitRate(input.generation, ledger, deps.clock.now());
      retaken.push({ ledger, change, ...found });
    } catch (error) {
      if (!isOfData(error)) throw error;
      deps.setAside(ledger, error);
    }
  }
  const early: Early[] = [];
  for (const { ledger, unsettled } of retaken) {
    report.replayed += await replay(input.generation, ledger, unsettled, deps, report, early);
  }
  for (const { ledger, reverted } of retaken) {
    report.healed += await replay(input.generation, ledger, reverted, deps, report, early);
  }
  report.healed += await replayParents(input.generation, early, deps, report);
  for (const { ledger, change } of retaken) {
    if (change !== 'same') await keepSchedules(input.generation, ledger, deps, report);
  }
  for (const { ledger, change } of retaken) {
    // Not before all is done, else a recovery cut off here would leave the next one without what is to
    // be healed. What was healed is remembered anew, with the time of its healing.
    if (isAnother(change)) ledger.forgetBefore(began);
    else ledger.renewWindow(deps.clock.wall());
  }
  return report;
}

/** A queue that was retaken, with the outcomes that it does not have. */
interface Retaken {
  ledger: QueueLedger;
  change: IdentityChange;
  unsettled: Outcome[];
  reverted: Outcome[];
}

/** Whether the server may have lost its last moments. */
function isAnother(change: IdentityChange): boolean {
  return change === 'restarted' || change === 'failed-over';
}

async function retakeQueue(
  input: RecoveryInput,
  ledger: QueueLedger,
  deps: RecoveryDeps,
  report: RecoveryReport,
): Promise<Pick<Retaken, 'unsettled' | 'reverted'>> {
  const { clock, processId } = deps;
  const now = clock.now();
  handBackUnstarted(ledger, now);
  const identityChanged = isAnother(input.change);
  const held = [...ledger.held.values()];
  const unsettled = [...ledger.unsettled.values()];
  const window = identityChanged ? newestPerJob(ledger, unsettled) : new Map<HeldJob, Outcome>();
  /** Acknowledgement of the newest outcome that the dataset has: it has those before it as well. */
  let survivedAt = Number.NEGATIVE_INFINITY;
  const entries = [
    ...held.filter((job) => !ledger.unsettled.has(job.id)).map((job) => entry(job, 'held')),
    ...unsettled.map(({ job }) => entry(job, 'unsettled')),
  ];
  function* jobs(): Generator<RetakeEntry> {
    yield* entries;
    for (const [job, { at }] of window) {
      if (at < survivedAt && !ledger.undone.has(job.id)) continue;
      const settled = entry(job, 'settled');
      entries.push(settled);
      yield settled;
    }
  }
  const onVerdict = ({ job }: RetakeEntry, verdict: Verdict): void => {
    const outcome = window.get(job);
    if (verdict !== 'settled' || !outcome?.isWitness) return;
    survivedAt = Math.max(survivedAt, outcome.at - OUT_OF_ORDER_MS);
  };
  const doubtful = [...ledger.doubtful];
  const hadEpoch = ledger.epoch !== undefined;
  const epoch = nextEpoch(processId);
  const reply = await retake(input.generation, ledger, {
    jobs: jobs(),
    onVerdict,
    doubtful,
    epoch,
    beginsEpoch: true,
    member: processId,
    server: lifeOf(input.identity),
    identityChanged,
    expired: [...held, ...unsettled.map(({ job }) => job)].some((job) => lockExpired(job, now)),
    holdMs: deps.holdMs,
    barrierMs: input.change === 'first' ? 0 : deps.barrierMs,
    guardMs: deps.guardMs(ledger),
    aliveFrom: input.aliveFrom,
    fenceMs: deps.fenceMs(),
    processId,
  });
  ledger.epoch = epoch;
  for (const token of doubtful) ledger.doubtful.delete(token);
  ledger.barrierUntil = clock.now() + reply.barrierMs;
  report.handedBack += reply.handedBack.length;
  report.members = Math.max(report.members, reply.members);
  if (hadEpoch && reply.epochBefore === '') report.epochsGone += 1;

  const stillUnsettled: Outcome[] = [];
  const reverted: Outcome[] = [];
  for (const [i, { job, mode }] of entries.entries()) {
    const verdict = reply.verdicts[i]!;
    const ours = verdict === 'kept' || verdict === 'pulled';
    // Of an outcome that the dataset had: its job was removed since, as it is done with what is old.
    const isRemoved = mode === 'settled' && window.get(job)!.at < survivedAt;
    if (verdict === 'missing' && identityChanged && (!isRemoved || ledger.undone.has(job.id))) {
      const outcome = ledger.unsettled.get(job.id) ?? window.get(job);
      ledger.undone.set(job.id, { job, outcome, until: now + RAN_MS });
    }
    if (mode === 'settled') {
      if (ours) {
        const outcome = window.get(job)!;
        reverted.push(outcome);
        // Given back meanwhile, and owed also if an outage comes before it is healed: no window has it.
        if (ledger.undone.delete(job.id)) ledger.unsettled.set(job.id, outcome);
        job.isGone = false;
      }
      continue;
    }
    if (ours) {
      job.lockedAt = clock.now();
      job.alias = undefined;
      if (verdict === 'pulled') report.pulledBack += 1;
      else report.locksRetaken += 1;
    }
    if (mode === 'held') judgeHeld(ledger, job, verdict, deps, report);
    else {
      const outcome = ledger.unsettled.get(job.id)!;
      if (ours) stillUnsettled.push(outcome);
      else await judgeUnsettled(ledger, outcome, verdict, deps, report);
    }
  }
  return { unsettled: stillUnsettled, reverted };
}

/** What is left of the limit that a handler set in the outage, as BullMQ sets it. */
async function limitRate(generation: Generation, ledger: QueueLedger, now: number): Promise<void> {
  const { limitedUntil } = ledger;
  if (limitedUntil === undefined) return;
  const ms = Math.ceil(limitedUntil - now);
  if (ms > 0) {
    await generation.client.set(ledger.toKey('limiter'), Number.MAX_SAFE_INTEGER, 'PX', ms);
  }
  if (ledger.limitedUntil === limitedUntil) ledger.limitedUntil = undefined;
}

/** A run that goes on has made its schedule's next one; the dataset may have forgotten that alone. */
async function keepSchedules(
  generation: Generation,
  ledger: QueueLedger,
  deps: RecoveryDeps,
  report: RecoveryReport,
): Promise<void> {
  for (const { schedulerUpdate, isLost, isGone } of ledger.held.values()) {
    if (!schedulerUpdate || isLost || isGone) continue;
    try {
      await deps.makeNextRun(generation, ledger, schedulerUpdate);
    } catch (error) {
      if (deps.isOutage(error, generation)) throw error;
      report.refused += 1;
    }
  }
}

function judgeHeld(
  ledger: QueueLedger,
  job: HeldJob,
  verdict: Verdict,
  deps: RecoveryDeps,
  report: RecoveryReport,
): void {
  if (verdict === 'settled') {
    oweNotes(ledger, job);
    ledger.release(job);
  }
  if (verdict === 'missing') job.isGone = true;
  if (verdict === 'foreign' || verdict === 'replaced') {
    report.runsLost += 1;
    deps.lockLost(ledger, job, verdict);
  }
}

/** A settle that a frozen server still ran at its wake may have overtaken notes that came too late. */
function oweNotes(ledger: QueueLedger, job: HeldJob): void {
  if (hasNotes(job)) ledger.owed.add(job);
}

async function judgeUnsettled(
  ledger: QueueLedger,
  outcome: Outcome,
  verdict: Verdict,
  deps: RecoveryDeps,
  report: RecoveryReport,
): Promise<void> {
  if (verdict === 'foreign' || verdict === 'replaced') {
    report.runsLost += 1;
    deps.outcomeDropped(ledger, outcome.job, verdict);
  }
  if (verdict === 'settled') oweNotes(ledger, outcome.job);
  // `missing` is what a settle leaves that removes its job; a dataset that is gone is named as such.
  await deps.settled(ledger, [outcome]);
}

/** A job whose run does not begin was dropped before it ran, unless the fetch that took it goes on. */
function handBackUnstarted(ledger: QueueLedger, now: number): void {
  if (ledger.starting > 0) return;
  for (const job of ledger.held.values()) {
    if (job.isStarted) continue;
    if (now - job.takenAt > 3 * job.lockMs && now - job.lockedAt > 3 * job.lockMs) {
      ledger.release(job);
      ledger.doubt(job.token);
    }
  }
}

/**
 * The last outcome of each job that nothing newer here speaks for, by what ran, newest first: of the window, and
 * of jobs that an earlier rollback undid and that were not given back yet.
 */
function newestPerJob(ledger: QueueLedger, unsettled: readonly Outcome[]): Map<HeldJob, Outcome> {
  const spokenFor = new Set(unsettled.map(({ job }) => job.id));
  const newest = new Map<string, Outcome>();
  const undone = [...ledger.undone.values()].flatMap(({ outcome }) => outcome ?? []);
  for (const outcome of [...undone, ...ledger.window]) {
    if (!ledger.held.has(outcome.job.id) && !spokenFor.has(outcome.job.id)) {
      newest.delete(outcome.job.id);
      newest.set(outcome.job.id, outcome);
    }
  }
  return new Map([...newest.values()].reverse().map((outcome) => [outcome.job, outcome]));
}

function entry(job: HeldJob, mode: RetakeMode): RetakeEntry {
  return { job, mode };
}

let epochs = 0;

/** The number says which of two came later: see `lua/retake.ts`. */
export function nextEpoch(processId: string): string {
  epochs += 1;
  return `${processId}:${epochs}`;
}
