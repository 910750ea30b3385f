/**
 * What is asked of Redis about one queue while the breaker is closed: to begin an epoch in a queue that
 * is new here, whose a job is, and to take outcomes that came in after a recovery.
 */
import { QueueSetAsideError } from '../errors.ts';
import type { Clock } from '../time.ts';
import { fenceArgs, isFenced } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { HeldJob, Outcome, QueueLedger, Undone } from './ledger.ts';
import { fencedReason } from './lua/fence.ts';
import { makeNextRun } from './next-run.ts';
import { writeNotes } from './notes.ts';
import { nextEpoch, type RecoveryDeps } from './recovery.ts';
import { type Early, replay } from './replay-outcomes.ts';
import { type RetakeMode, type RetakeReply, retake } from './retake.ts';
import type { Verdict } from './target-core.ts';

export interface QueueCareDeps {
  clock: Clock;
  processId: string;
  fenceMs(): number;
  guardMs(ledger: QueueLedger): number;
  /** The server's present life; see `lifeOf`. */
  server(): string;
}

/** A script that came late is sent again, after the clocks were compared, this often. */
const LATE_RETRIES = 3;
/** A parent whose children's outcomes are missing is tried again after this time, ms. */
const LOOK_AGAIN_MS = 250;
/** Jobs that producers have given back, read at once. */
const GIVEN_MAX = 500;

export class QueueCare {
  readonly #deps: QueueCareDeps;
  readonly #beginning = new WeakMap<QueueLedger, { generation: Generation; done: Promise<void> }>();

  readonly #draining = new WeakMap<QueueLedger, Promise<void>>();

  constructor(deps: QueueCareDeps) {
    this.#deps = deps;
  }

  /** Sends one script of BullMQ's, fenced. One that came late did nothing and is sent again. */
  send(
    generation: Generation,
    ledger: QueueLedger,
    script: string,
    args: readonly unknown[],
  ): Promise<unknown> {
    if (!isFenced(script)) return generation.script(script, args);
    return this.#sendFenced(generation, ledger, script, args, 1);
  }

  #sendFenced(
    generation: Generation,
    ledger: QueueLedger,
    script: string,
    args: readonly unknown[],
    tries: number,
  ): Promise<unknown> {
    const { processId, fenceMs } = this.#deps;
    const fence = ledger.fence(processId, generation.serverNow() + fenceMs());
    const fenced = fenceArgs(script, args, fence);
    return generation.script(script, fenced).catch(async (error: unknown) => {
      if (fencedReason(error) !== 'late' || tries >= LATE_RETRIES) throw error;
      await this.compareClocks(generation);
      return await this.#sendFenced(generation, ledger, script, args, tries + 1);
    });
  }

  /** Makes the next run of a schedule again, whose scheduler a rollback may have set back. */
  makeNextRun(
    generation: Generation,
    ledger: QueueLedger,
    update: readonly unknown[],
  ): Promise<void> {
    const { processId, fenceMs } = this.#deps;
    const compareClocks = (): Promise<void> => this.compareClocks(generation);
    return makeNextRun(generation, ledger, update, { processId, fenceMs, compareClocks });
  }

  /** A command came late: perhaps the clocks are further apart than was thought. */
  async compareClocks(generation: Generation): Promise<void> {
    const before = this.#deps.clock.now();
    const serverMs = await generation.serverTime();
    generation.setClockOffset(serverMs - (before + this.#deps.clock.now()) / 2);
  }

  /**
   * Resolves when the queue's epoch is set in this generation; see `QueueLedger.readyIn`.
   * @throws QueueSetAsideError, or what Redis says
   */
  async ready(ledger: QueueLedger, generation: Generation): Promise<void> {
    if (ledger.readyIn === generation) return;
    if (ledger.aside) throw new QueueSetAsideError(ledger.queue, ledger.aside.reason);
    let beginning = this.#beginning.get(ledger);
    if (beginning?.generation !== generation) {
      beginning = { generation, done: this.#beginEpoch(ledger, generation) };
      this.#beginning.set(ledger, beginning);
    }
    try {
      await beginning.done;
    } finally {
      if (this.#beginning.get(ledger) === beginning) this.#beginning.delete(ledger);
    }
  }

  /** Recovery has begun the epochs of these queues, but for those that are set aside. */
  isReady(ledgers: Iterable<QueueLedger>, generation: Generation): void {
    for (const ledger of ledgers) {
      if (ledger.epoch !== undefined && !ledger.aside) ledger.readyIn = generation;
    }
  }

  async #beginEpoch(ledger: QueueLedger, generation: Generation): Promise<void> {
    // A number like a recovery's: what a queue that was forgotten here has in Redis may have one too.
    const epoch = nextEpoch(this.#deps.processId);
    const begins = { epoch, beginsEpoch: true };
    const reply = await this.#retake(ledger, generation, [], 'held', begins);
    ledger.epoch = epoch;
    ledger.barrierUntil = this.#deps.clock.now() + reply.barrierMs;
    ledger.readyIn = generation;
  }

  /** Whose the job is; takes it back if it is free. */
  async verdictOn(ledger: QueueLedger, job: HeldJob, generation: Generation): Promise<Verdict> {
    await this.ready(ledger, generation);
    const reply = await this.#retake(ledger, generation, [job], 'held');
    const verdict = reply.verdicts[0]!;
    if (verdict === 'kept' || verdict === 'pulled') {
      job.lockedAt = this.#deps.clock.now();
      job.alias = undefined;
    }
    return verdict;
  }

  /** Writes outcomes that no recovery will see any more. */
  async drain(ledger: QueueLedger, generation: Generation, deps: RecoveryDeps): Promise<void> {
    // One after the other: two would write the same outcome, and the second would be refused.
    const before = this.#draining.get(ledger) ?? Promise.resolve();
    const mine = before.catch(() => undefined).then(() => this.#drain(ledger, generation, deps));
    this.#draining.set(ledger, mine);
    await mine;
  }

  async #drain(ledger: QueueLedger, generation: Generation, deps: RecoveryDeps): Promise<void> {
    // The recovery that takes it back writes them.
    if (ledger.aside) return;
    for (const job of ledger.owed) {
      await writeNotes(generation, ledger, job, deps);
      ledger.owed.delete(job);
    }
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
      if (verdict === 'settled') await writeNotes(generation, ledger, outcome.job, deps);
      await deps.settled(ledger, [outcome]);
    }
    const early: Early[] = [];
    await replay(generation, ledger, ours, deps, { refused: 0 }, early);
    if (early.length > 0) this.#drainLater(ledger, generation, deps);
  }

  /**
   * Waits for jobs that a rollback undid together with their add: a producer that adds one again hands it
   * to us and says so (`lua/claim.ts`). Resolves when nothing is left to wait for.
   */
  async watchUndone(
    ledger: QueueLedger,
    generation: Generation,
    deps: RecoveryDeps,
  ): Promise<void> {
    const given = ledger.key(`given:${this.#deps.processId}`);
    while (ledger.undone.size > 0 && generation.alive) {
      await new Promise<void>((resolve) => this.#deps.clock.after(LOOK_AGAIN_MS, resolve));
      if (!generation.alive) return;
      const ids = await generation.client.lrange(given, 0, GIVEN_MAX - 1);
      const now = this.#deps.clock.now();
      const asked = new Set<Undone>();
      for (const id of ids) {
        const undone = ledger.undone.get(id);
        if (undone) asked.add(undone);
      }
      // The oldest stand first: what nobody added again is looked for once more at its end.
      for (const undone of ledger.undone.values()) {
        if (now <= undone.until) break;
        asked.add(undone);
      }
      if (asked.size > 0) await this.#lookForUndone(ledger, generation, [...asked], deps);
      // Not before: a look that an outage cuts off is done again.
      if (ids.length > 0) await generation.client.ltrim(given, ids.length, -1);
    }
  }

  async #lookForUndone(
    ledger: QueueLedger,
    generation: Generation,
    waiting: readonly Undone[],
    deps: RecoveryDeps,
  ): Promise<void> {
    const jobs = waiting.map(({ job }) => job);
    const reply = await this.#retake(ledger, generation, jobs, 'settled');
    const now = this.#deps.clock.now();
    let found = 0;
    for (const [i, { job, outcome, until }] of waiting.entries()) {
      const verdict = reply.verdicts[i]!;
      if (verdict === 'missing' && now <= until) continue;
      ledger.undone.delete(job.id);
      const isUntold = job.isGone && outcome !== undefined;
      if (verdict !== 'kept' && verdict !== 'pulled') {
        if (isUntold && verdict !== 'settled') deps.outcomeDropped(ledger, job, verdict);
        continue;
      }
      job.lockedAt = now;
      job.isGone = false;
      // Of a handler that still runs its own settle writes the outcome.
      if (outcome) {
        // Owed from here on, also if an outage comes before it is written.
        ledger.unsettled.set(job.id, outcome);
        found += 1;
      } else if (job.schedulerUpdate) {
        await this.makeNextRun(generation, ledger, job.schedulerUpdate);
      }
    }
    if (found > 0) await this.drain(ledger, generation, deps);
  }

  /** Parents wait until the replica that has their children's outcomes has written them. */
  #drainLater(ledger: QueueLedger, generation: Generation, deps: RecoveryDeps): void {
    this.#deps.clock.after(LOOK_AGAIN_MS, () => {
      if (!generation.alive) return;
      this.drain(ledger, generation, deps).catch((error: unknown) => {
        deps.isOutage(error, generation);
      });
    });
  }

  #retake(
    ledger: QueueLedger,
    generation: Generation,
    jobs: readonly HeldJob[],
    mode: RetakeMode,
    { epoch, beginsEpoch } = { epoch: ledger.epoch!, beginsEpoch: false },
  ): Promise<RetakeReply> {
    const { processId, server, guardMs, fenceMs } = this.#deps;
    return retake(generation, ledger, {
      jobs: jobs.map((job) => ({ job, mode })),
      doubtful: [],
      epoch,
      beginsEpoch,
      member: processId,
      server: server(),
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
