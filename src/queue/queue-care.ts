/**
 * What is asked of Redis about one queue while the breaker is closed: to begin an epoch in a queue that
 * is new here, whose a job is, and to take outcomes that came in after a recovery.
 */
import type { Clock } from '../time.ts';
import { commandName, fenceArgs, isFenced } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { HeldJob, Outcome, QueueLedger } from './ledger.ts';
import { fencedReason } from './lua/fence.ts';
import { type RecoveryDeps, replay } from './recovery.ts';
import { type RetakeMode, type RetakeReply, retake } from './retake.ts';
import type { Verdict } from './target-core.ts';

export interface QueueCareDeps {
  clock: Clock;
  processId: string;
  fenceMs(): number;
  guardMs(ledger: QueueLedger): number;
  runId(): string;
}

/** A script that came late is sent again, after the clocks were compared, this often. */
const LATE_RETRIES = 3;

export class QueueCare {
  readonly #deps: QueueCareDeps;
  readonly #ready = new WeakMap<QueueLedger, { generation: Generation; done: Promise<void> }>();

  constructor(deps: QueueCareDeps) {
    this.#deps = deps;
  }

  /** Sends one script of BullMQ's, fenced. One that came late did nothing and is sent again. */
  async send(
    generation: Generation,
    ledger: QueueLedger,
    script: string,
    args: readonly unknown[],
  ): Promise<unknown> {
    const { processId, fenceMs } = this.#deps;
    if (!isFenced(script)) {
      return await generation.adapted.runCommand(commandName(script), [...args] as never);
    }
    for (let tries = 1; ; tries += 1) {
      try {
        return await generation.adapted.runCommand(
          commandName(script),
          fenceArgs(script, args, {
            epochKey: ledger.key(`epoch:${processId}`),
            deadline: generation.serverNow() + fenceMs(),
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
    const before = this.#deps.clock.now();
    const serverMs = await generation.serverTime();
    generation.setClockOffset(serverMs - (before + this.#deps.clock.now()) / 2);
  }

  /** Resolves when the queue's epoch is set in this generation. */
  async ready(ledger: QueueLedger, generation: Generation): Promise<void> {
    const present = this.#ready.get(ledger);
    if (present?.generation === generation) return await present.done;
    const done = this.#beginEpoch(ledger, generation);
    this.#ready.set(ledger, { generation, done });
    done.catch(() => {
      if (this.#ready.get(ledger)?.done === done) this.#ready.delete(ledger);
    });
    await done;
  }

  /** Recovery has begun the epochs of these queues. */
  isReady(ledgers: Iterable<QueueLedger>, generation: Generation): void {
    for (const ledger of ledgers) {
      if (ledger.epoch !== undefined) {
        this.#ready.set(ledger, { generation, done: Promise.resolve() });
      }
    }
  }

  async #beginEpoch(ledger: QueueLedger, generation: Generation): Promise<void> {
    const epoch = `${this.#deps.processId}:first`;
    const reply = await this.#retake(ledger, generation, [], 'held', epoch);
    ledger.epoch = epoch;
    ledger.barrierUntil = this.#deps.clock.now() + reply.barrierMs;
  }

  /** Whose the job is; takes it back if it is free. */
  async verdictOn(ledger: QueueLedger, job: HeldJob, generation: Generation): Promise<Verdict> {
    await this.ready(ledger, generation);
    const reply = await this.#retake(ledger, generation, [job], 'held');
    const verdict = reply.verdicts[0]!;
    if (verdict === 'kept' || verdict === 'pulled') job.lockedAt = this.#deps.clock.now();
    return verdict;
  }

  /** Writes outcomes that no recovery will see any more. */
  async drain(ledger: QueueLedger, generation: Generation, deps: RecoveryDeps): Promise<void> {
    const outcomes = [...ledger.unsettled.values()];
    if (outcomes.length === 0) return;
    await this.ready(ledger, generation);
    const jobs = outcomes.map(({ job }) => job);
    const reply = await this.#retake(ledger, generation, jobs, 'unsettled');
    const ours: Outcome[] = [];
    for (const [i, outcome] of outcomes.entries()) {
      const verdict = reply.verdicts[i]!;
      if (verdict === 'kept' || verdict === 'pulled') {
        ours.push(outcome);
        continue;
      }
      if (verdict === 'foreign' || verdict === 'replaced') {
        deps.outcomeDropped(ledger, outcome.job, verdict);
      }
      await deps.settled(ledger, [outcome]);
    }
    await replay(generation, ledger, ours, deps, { refused: 0 });
  }

  #retake(
    ledger: QueueLedger,
    generation: Generation,
    jobs: readonly HeldJob[],
    mode: RetakeMode,
    epoch = ledger.epoch!,
  ): Promise<RetakeReply> {
    const { processId, runId, guardMs, fenceMs } = this.#deps;
    return retake(generation, ledger, {
      jobs: jobs.map((job) => ({ job, mode })),
      doubtful: [],
      epoch,
      member: processId,
      runId: runId(),
      identityChanged: false,
      expired: false,
      holdMs: 0,
      barrierMs: 0,
      guardMs: guardMs(ledger),
      aliveFrom: 0,
      fenceMs: fenceMs(),
      processId,
    });
  }
}
