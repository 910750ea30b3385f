/**
 * Writes outcomes to Redis that it does not have: each job's notes before its outcome, what its run made
 * of its schedule, children before parents. The jobs' locks are ours.
 */
import type { Generation } from './generation.ts';
import type { Outcome, QueueLedger } from './ledger.ts';
import { writeNotes } from './notes.ts';
import { withoutFetch } from './policy.ts';
import type { RecoveryDeps, RecoveryReport } from './recovery.ts';

/** Outcomes sent at once: one round trip for many, without a burst that fills the socket. */
const REPLAY_BATCH = 64;

/** The outcome of a parent whose children's outcomes are not there yet. */
export interface Early {
  ledger: QueueLedger;
  outcome: Outcome;
}

/** BullMQ's code for a parent with pending children (enums/error-code.js). */
const PENDING_CHILDREN = -4;

/** Parents, once their children are there; those of children elsewhere wait for the next drain. */
export async function replayParents(
  generation: Generation,
  early: Early[],
  deps: RecoveryDeps,
  report: RecoveryReport,
): Promise<number> {
  let done = 0;
  for (let waiting = early; waiting.length > 0; ) {
    const still: Early[] = [];
    for (const { ledger, outcome } of waiting) {
      done += await replay(generation, ledger, [outcome], deps, report, still);
    }
    if (still.length === waiting.length) {
      // Another replica has the children's outcomes and has yet to write them.
      for (const { ledger, outcome } of still) ledger.unsettled.set(outcome.job.id, outcome);
      break;
    }
    waiting = still;
  }
  return done;
}

/**
 * Writes outcomes to Redis, oldest first; returns how many it has now. The jobs' locks are ours.
 * Parents that have pending children go to `early`.
 */
export async function replay(
  generation: Generation,
  ledger: QueueLedger,
  outcomes: readonly Outcome[],
  deps: RecoveryDeps,
  report: Pick<RecoveryReport, 'refused'>,
  early: Early[],
): Promise<number> {
  let done = 0;
  const ordered = [...outcomes].sort((a, b) => a.at - b.at);
  for (let from = 0; from < ordered.length; from += REPLAY_BATCH) {
    const batch = ordered.slice(from, from + REPLAY_BATCH);
    const results = await Promise.all(
      batch.map((outcome) => replayOne(generation, ledger, outcome, deps)),
    );
    const settled: Outcome[] = [];
    for (const [i, refusal] of results.entries()) {
      const outcome = batch[i]!;
      if (refusal === undefined) settled.push(outcome);
      else if (refusal === PENDING_CHILDREN) early.push({ ledger, outcome });
      else {
        report.refused += 1;
        await deps.refused(
          ledger,
          outcome,
          typeof refusal === 'number' ? `BullMQ answered ${refusal}` : refusal,
        );
      }
    }
    await deps.settled(ledger, settled);
    done += settled.length;
  }
  return done;
}

/** @returns why Redis refuses the outcome for good, or undefined when it has it */
async function replayOne(
  generation: Generation,
  ledger: QueueLedger,
  outcome: Outcome,
  deps: RecoveryDeps,
): Promise<string | number | undefined> {
  const { job } = outcome;
  try {
    await writeNotes(generation, ledger, job, deps);
    if (job.schedulerUpdate) {
      await deps.makeNextRun(generation, ledger, job.schedulerUpdate);
    }
    const args = withoutFetch(outcome.command, outcome.args);
    const reply = await deps.send(generation, ledger, outcome.command, args);
    return typeof reply === 'number' && reply < 0 ? reply : undefined;
  } catch (error) {
    if (deps.isOutage(error, generation)) throw error;
    return error instanceof Error ? error.message : String(error);
  }
}
