/**
 * One page of journaled jobs on its way to Redis: each entry under its number, all of a page at once.
 * What has acted is told by the numbers' keys; when to send and what to do with the answers is the
 * replayer's business.
 */
import { ErrorCode } from 'bullmq';
import type { JobEntry, Kept, Position } from '../journal/entry.ts';
import type { Clock } from '../time.ts';
import type { AddWork } from './add-series.ts';
import type { Generation } from './generation.ts';
import type { Ended } from './island-ends.ts';
import { BEGUN, endedPlace, mayHaveRunHere, runPlace } from './island-job.ts';
import { keepAlias } from './job-alias.ts';
import { type AcceptedJob, type Place, storedJob } from './job-store.ts';
import type { QueueLedger } from './ledger.ts';
import { fencedReason } from './lua/fence.ts';
import { NUMBER_LIVES_MS, Renewals } from './series-keys.ts';

export interface PageDeps {
  processId: string;
  clock: Clock;
  ledger(prefix: string, queue: string): QueueLedger;
  ready(ledger: QueueLedger, generation: Generation): Promise<void>;
  workOf(ledger: QueueLedger, job: AcceptedJob): Promise<AddWork>;
  /** It runs here from the journal, and Redis does not have it yet: no business of the replay's. */
  isRunning(position: Position): boolean;
  /** Those of a page that ran here from the journal to their end: each goes with how it ended. */
  ended?(page: readonly Kept<JobEntry>[]): Promise<ReadonlyMap<Position, Ended>>;
  /** Redis has the job without its end, which nothing here speaks for: that is to be written. */
  owe?(position: Position, generation: Generation): Promise<void>;
  isOutage(error: unknown, generation: Generation): boolean;
}

/** An entry that is to be sent. */
export interface Step {
  entry: Kept<JobEntry>;
  ledger: QueueLedger;
  work: AddWork;
  place: Place;
  /** Where the journal has how it ended, of a job that ran from there. */
  outcome?: Position | undefined;
  /** Redis knew its number otherwise: it is asked before the step is sent again. */
  isDoubted?: boolean;
}

export type Fate = 'acted' | 'again' | { refused: string };

export class PageSender {
  readonly #deps: PageDeps;
  readonly #refuse: (position: Position, reason: string) => Promise<void>;
  readonly #renewals: Renewals;
  #touched: Position = Number.MIN_SAFE_INTEGER;
  #hasSent = false;

  /** @param refuse keeps an entry apart that nothing can be sent for */
  constructor(deps: PageDeps, refuse: (position: Position, reason: string) => Promise<void>) {
    this.#deps = deps;
    this.#refuse = refuse;
    this.#renewals = new Renewals(deps.clock);
  }

  /** Nothing behind this entry was written to a socket in this life. */
  get touched(): Position {
    return this.#touched;
  }

  /** Something may be in Redis since our start, so that a worker may have run it. */
  get hasSent(): boolean {
    return this.#hasSent;
  }

  /** What of a page is to be sent, ready to go. Queues that are set aside come to `leftOut`, with what it has. */
  async stepsOf(
    page: readonly Kept<JobEntry>[],
    generation: Generation,
    leftOut: Set<QueueLedger>,
  ): Promise<Step[]> {
    const steps: Step[] = [];
    this.#touched = Math.max(this.#touched, page.at(-1)!.position);
    const ended = await this.#deps.ended?.(page);
    for (const entry of page) {
      if (this.#deps.isRunning(entry.position)) continue;
      const step = await this.#stepOf(entry, ended?.get(entry.position));
      if (!step) continue;
      if (step.ledger.aside) leftOut.add(step.ledger);
      if (leftOut.has(step.ledger)) continue;
      if (step.ledger.readyIn !== generation) await this.#deps.ready(step.ledger, generation);
      steps.push(step);
    }
    return steps;
  }

  /**
   * Undefined for an entry that is not to be sent here, and for one that no add can be made of: kept
   * apart, it holds up nothing behind it.
   */
  async #stepOf(entry: Kept<JobEntry>, end: Ended | undefined): Promise<Step | undefined> {
    try {
      const ledger = this.#deps.ledger(entry.prefix, entry.queue);
      const job = storedJob(entry);
      if (end) {
        const { work, outcome } = end;
        return { entry, ledger, work: work(), place: endedPlace(job.place), outcome };
      }
      const place = entry.mark === 'running' ? runPlace(job.place) : job.place;
      // Of this life: the series itself decides, from memory.
      if (place.key.endsWith(`:adds:${this.#deps.processId}`)) return undefined;
      return { entry, ledger, work: await this.#deps.workOf(ledger, job), place };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const reason = `no job can be made of the entry: ${why}`;
      await this.#refuse(entry.position, reason);
      if (end) await this.#refuse(end.outcome, reason);
      return undefined;
    }
  }

  /**
   * @param last what the numbers' keys hold; unknown ones are asked for
   * @param isAgain the dataset may have lost what workers ran
   * @throws for an outage only
   */
  async send(
    steps: readonly Step[],
    generation: Generation,
    last: Map<string, number>,
    isAgain: boolean,
  ): Promise<Fate[]> {
    await this.#ask(steps, generation, last);
    const returned = await returnedOf(steps, generation);
    const fates = new Map<Step, Fate>();
    const sendRun = (run: readonly Step[]) =>
      Promise.all(
        run.map(async (step) => {
          const fate = returned.has(step)
            ? 'acted'
            : await this.#sendOne(step, generation, last, isAgain);
          fates.set(step, fate);
        }),
      );
    try {
      await Promise.all(
        runsOf(steps).map(async (runs) => {
          for (const run of runs) {
            await sendRun(run);
            if (run.some((step) => fates.get(step) === 'again')) return;
          }
        }),
      );
      return steps.map((step) => fates.get(step) ?? 'again');
    } finally {
      for (const step of steps) if (isOfOneSeries(step)) last.delete(step.place.key);
    }
  }

  async #ask(
    steps: readonly Step[],
    generation: Generation,
    last: Map<string, number>,
  ): Promise<void> {
    const unknown = new Set<string>();
    for (const { outcome, place, isDoubted } of steps) {
      if (outcome === undefined) this.#renewals.keep(generation, place.key);
      if (last.has(place.key)) continue;
      // A series of one, which Redis hardly ever has: its add finds that out.
      if (outcome !== undefined && !isDoubted) last.set(place.key, 0);
      else unknown.add(place.key);
    }
    const asked = [...unknown].map(async (key) => {
      last.set(key, Number((await generation.client.get(key)) ?? 0));
    });
    await Promise.all(asked);
  }

  async #sendOne(
    step: Step,
    generation: Generation,
    last: Map<string, number>,
    isAgain: boolean,
  ): Promise<Fate> {
    const { key, number } = step.place;
    const before = last.get(key)!;
    if (step.outcome !== undefined && before === BEGUN) {
      // From here on it is forgotten by whoever writes it.
      step.outcome = undefined;
      await this.#deps.owe?.(step.entry.position, generation);
      return 'acted';
    }
    if (number <= before || this.#hasOutlivedNumber(step)) return 'acted';
    last.set(key, number);
    this.#hasSent = true;
    try {
      const place = { key, before, number };
      const reply = await (isAgain || this.#mayHaveRun(step)
        ? step.work.sendAgain(generation, place)
        : step.work.send(generation, place));
      await keepAlias(generation, step.ledger, step.entry.jobId, reply);
      if (typeof reply === 'number' && reply < 0) return { refused: wordsFor(reply) };
      return 'acted';
    } catch (error) {
      const reason = fencedReason(error);
      step.isDoubted = true;
      if (reason === 'late' || reason === 'number') return 'again';
      if (this.#deps.isOutage(error, generation)) throw error;
      return { refused: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Redis had it, so long ago that its number may be forgotten: what that says is no rollback. */
  #hasOutlivedNumber({ entry }: Step): boolean {
    return entry.mark === 'lingering' && this.#deps.clock.wall() - entry.at > NUMBER_LIVES_MS;
  }

  /**
   * Whether a living worker may know the job although the dataset does not: it ran here from the journal,
   * or another life had sent it, and a rollback took both the job and that life's memory of it.
   */
  #mayHaveRun({ entry, place }: Step): boolean {
    return mayHaveRunHere(entry) || !place.key.endsWith(`:${this.#deps.processId}`);
  }
}

/** Those of damaged files that ran from the journal, as Redis tells, which has them since under another number. */
async function returnedOf(steps: readonly Step[], generation: Generation): Promise<Set<Step>> {
  const returned = new Set<Step>();
  await Promise.all(
    steps.map(async (step) => {
      if (step.entry.mark !== 'doubtful' || step.outcome !== undefined) return;
      if ((await generation.client.get(runPlace(step.place).key)) !== null) returned.add(step);
    }),
  );
  return returned;
}

/** What BullMQ's negative reply to an add means, for who reads the entry. */
function wordsFor(reply: number): string {
  const what = reply === ErrorCode.ParentJobNotExist ? 'its parent is not in Redis' : 'refused';
  return `${what} (BullMQ answered ${reply})`;
}

/** A job that ran here: it has a series for itself, and its place in the queue is behind it. */
function isOfOneSeries({ entry, outcome }: Step): boolean {
  return entry.mark === 'running' || outcome !== undefined;
}

/**
 * Of each queue in order, what goes at once: its numbers keep a series in order, and nothing else keeps one
 * behind another. Where jobs of a queue change series, which is seldom, that costs a round trip.
 */
function runsOf(steps: readonly Step[]): Step[][][] {
  const queues = new Map<QueueLedger, Step[][]>();
  const unordered: Step[] = [];
  for (const step of steps) {
    if (isOfOneSeries(step)) {
      unordered.push(step);
      continue;
    }
    const runs = queues.get(step.ledger) ?? [];
    queues.set(step.ledger, runs);
    const run = runs.at(-1);
    if (run?.[0]?.place.key === step.place.key) run.push(step);
    else runs.push([step]);
  }
  return [[unordered], ...queues.values()];
}
