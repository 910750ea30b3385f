/**
 * Outcomes of jobs, from BullMQ's settling scripts to Redis or to the journal. Whatever happens, BullMQ
 * hears that the job is settled, which is as true as it will be, and nobody runs it again.
 */
import { unpack } from 'msgpackr';
import { keyCount } from './fenced-scripts.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';
import { hasNotes, writeNotes } from './notes.ts';
import { settleArguments, withoutFetch } from './policy.ts';
import type { Sender } from './sender.ts';
import type { Taker } from './taker.ts';
import type { TargetCore } from './target-core.ts';

/** BullMQ's codes for "this job is no longer yours to settle" (enums/error-code.js). */
const REFUSALS: ReadonlySet<unknown> = new Set([-1, -2, -3, -6]);

/** Where moveToFinished has its packed options, behind its keys. */
const FINISH_OPTIONS = 7;

export class Settler {
  readonly #core: TargetCore;
  readonly #ledger: QueueLedger;
  readonly #sender: Sender;
  readonly #taker: Taker;

  constructor(core: TargetCore, ledger: QueueLedger, sender: Sender, taker: Taker) {
    this.#core = core;
    this.#ledger = ledger;
    this.#sender = sender;
    this.#taker = taker;
  }

  /** The job that a settling script speaks of, if it is in flight here. */
  jobOf(script: string, args: readonly unknown[]): HeldJob | undefined {
    const at = settleArguments[script]!;
    const job = this.#ledger.held.get(String(args[keyCount(script) + at.jobId]));
    if (job?.earlier === undefined || tokenOf(script, args) === job.token) return job;
    return job.earlier;
  }

  /** @returns what the script would answer, with the next job if it brought one */
  async settle(job: HeldJob, script: string, args: readonly unknown[]): Promise<unknown> {
    this.#ledger.settling += 1;
    try {
      if (job.isGone) return this.#gone(job, script, args);
      const generation = this.#ledger.aside
        ? undefined
        : (this.#core.generation() ?? this.#core.settlingGeneration());
      if (!generation) return await this.#journal(job, script, args);
      if (hasNotes(job) && !(await this.#notesFirst(job))) {
        return await this.#journal(job, script, args);
      }

      const fetches = wantsNext(script, args) && this.#core.mayFetchWithSettle(this.#ledger);
      // Without a reply it is not known whether the next job came along: recovery hands it back.
      if (fetches) this.#ledger.doubt(job.token);
      const outcome = await this.#sender.attempt(generation, () =>
        this.#sender.run(script, fetches ? args : withoutFetch(script, args), generation),
      );
      if (!outcome) return await this.#journal(job, script, args);

      const { reply } = outcome;
      if (fetches) this.#ledger.doubtful.delete(job.token);
      if (REFUSALS.has(reply)) return await this.#refused(job, script, args, reply);
      if (typeof reply === 'number' && reply < 0) return reply;
      this.#acknowledged(job, script, args);
      return fetches ? this.#taker.hold(reply, job.token, 0) : reply;
    } finally {
      this.#ledger.settling -= 1;
    }
  }

  /** The dataset has forgotten the job. If a rollback did, its add may come again, and is given to this run. */
  #gone(job: HeldJob, script: string, args: readonly unknown[]): number {
    const undone = this.#ledger.undone.get(job.id);
    if (undone?.job === job) {
      const at = this.#core.clock.wall();
      const command = script;
      undone.outcome = { job, command, args: withoutFetch(script, args), at, position: undefined };
      this.#ledger.release(job);
    } else {
      this.#core.outcomeDropped(this.#ledger, job, 'missing');
    }
    return 0;
  }

  /** False when an outage came between. While memory is full they are written afterwards. */
  async #notesFirst(job: HeldJob): Promise<boolean> {
    const generation = this.#core.generation();
    if (!generation) {
      this.#ledger.owed.add(job);
      return true;
    }
    const written = await this.#sender.attempt(generation, () =>
      writeNotes(generation, this.#ledger, job, this.#core),
    );
    return written !== undefined;
  }

  async #journal(job: HeldJob, script: string, args: readonly unknown[]): Promise<number> {
    const settlement = { job, command: script, args: withoutFetch(script, args) };
    await this.#core.journalOutcome(this.#ledger, settlement);
    return 0;
  }

  #acknowledged(job: HeldJob, script: string, args: readonly unknown[]): void {
    this.#ledger.release(job);
    this.#core.acknowledged(this.#ledger, { job, command: script, args });
  }

  /** The server says that the job is not ours: find out what is true before anybody believes it. */
  async #refused(
    job: HeldJob,
    script: string,
    args: readonly unknown[],
    reply: unknown,
  ): Promise<unknown> {
    const verdict = await this.#core.verdictOn(this.#ledger, job);
    switch (verdict) {
      case 'kept':
      case 'pulled':
      case 'unknown':
        // Free, and ours again: what the journal keeps is written to Redis at once if it can be.
        return await this.#journal(job, script, args);
      case 'missing':
        // Removed by its owner, or lost with the dataset: BullMQ's own answer says it best.
        this.#ledger.release(job);
        return reply;
      default:
        this.#ledger.release(job);
        this.#core.outcomeDropped(this.#ledger, job, verdict);
        return 0;
    }
  }
}

/** In whose name a settle was sent. */
function tokenOf(script: string, args: readonly unknown[]): string {
  const { token } = settleArguments[script]!;
  if (token !== undefined) return String(args[keyCount(script) + token]);
  return String(
    (unpack(args[keyCount(script) + FINISH_OPTIONS] as Buffer) as { token: unknown }).token,
  );
}

function wantsNext(script: string, args: readonly unknown[]): boolean {
  const at = settleArguments[script]!.fetchNext;
  return at !== undefined && Number(args[keyCount(script) + at]) === 1;
}
