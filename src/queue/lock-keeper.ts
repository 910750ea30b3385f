/**
 * Locks of running jobs through an outage: while Redis is away they count as renewed, and a lock that
 * expired is taken back when the job is free. Only a job that is truly another's is lost.
 */
import type { HeldJob, QueueLedger } from './ledger.ts';
import type { Sender } from './sender.ts';
import type { TargetCore } from './target-core.ts';

export class LockKeeper {
  readonly #core: TargetCore;
  readonly #ledger: QueueLedger;
  readonly #sender: Sender;

  constructor(core: TargetCore, ledger: QueueLedger, sender: Sender) {
    this.#core = core;
    this.#ledger = ledger;
    this.#sender = sender;
  }

  /** Renews with `extend`, which resolves with the ids that it could not renew; those that are lost. */
  async renew(jobIds: readonly string[], extend: () => Promise<unknown[]>): Promise<string[]> {
    const { held, unsettled } = this.#ledger;
    const now = this.#core.clock.now();
    for (const id of jobIds) {
      const job = held.get(id);
      if (job) job.isStarted = true;
    }
    const generation = this.#core.generation();
    if (!generation) return [];
    const { aside } = this.#ledger;
    // As well as it goes in a queue that is set aside: that a key is broken, or the epoch gone, is known.
    const outcome = aside
      ? { reply: await extend().catch(() => jobIds) }
      : await this.#sender.attempt(generation, extend);
    if (!outcome) return [];
    const failed = new Set(outcome.reply.map(String));
    const lost: string[] = [];
    for (const id of jobIds) {
      const job = held.get(id);
      if (!failed.has(id)) {
        const locked = job ?? unsettled.get(id)?.job;
        if (locked) locked.lockedAt = now;
      } else if (!job || (await this.#isLost(job))) lost.push(id);
    }
    return lost;
  }

  async #isLost(job: HeldJob): Promise<boolean> {
    const { attemptsStarted } = job;
    const verdict = await this.#core.verdictOn(this.#ledger, job);
    // Taken from ourselves meanwhile: who took it gives it back to its run.
    if (job.attemptsStarted !== attemptsStarted) return false;
    if (verdict === 'kept' || verdict === 'pulled' || verdict === 'unknown') return false;
    // Its outcome overtook the renewal.
    if (verdict === 'settled') return false;
    this.#core.lockLost(this.#ledger, job, verdict);
    return true;
  }
}
