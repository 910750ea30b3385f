/**
 * Island mode: while Redis is away, jobs that this process accepted into its journal run here from the
 * journal. BullMQ's Worker is handed them as if they came from Redis, so they run like any other job;
 * how they end goes to the journal like any outcome. Afterwards those that run, or wait for another
 * attempt, are added to Redis as active under our lock (`bring`), before recovery looks for what is ours;
 * those that have ended follow when work goes on, and are not in memory until then (`island-ends.ts`).
 *
 * What it must never do: run a job of which a byte may have been written to a socket, or begin one
 * before the journal has it marked as running.
 */
import type { Logger } from 'pino';
import type { Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock } from '../time.ts';
import type { Generation } from './generation.ts';
import { IslandEnds } from './island-ends.ts';
import { endsJob, noteFields, retryOf } from './island-job.ts';
import { IslandQueue, type Ready, type Retry, type Taken, type TakenBy } from './island-queue.ts';
import { bring } from './island-return.ts';
import { IslandRules } from './island-rules.ts';
import { type HeldJob, heldFromReply, type QueueLedger } from './ledger.ts';
import type { Settlement } from './target-core.ts';

export interface IslandDeps {
  clock: Clock;
  journal: Journal;
  log: Logger;
  ledger(prefix: string, queue: string): QueueLedger;
  /** Redis is away: neither admitted nor good for settles. */
  isAway(): boolean;
  generation(): Generation | undefined;
  /** The replay may have written entries up to this one to a socket. */
  touched(): Position;
  isOutage(error: unknown, generation: Generation): boolean;
}

/**
 * Jobs whose ends the journal did not take: they are in memory until Redis is back, and then no other begins.
 */
const UNWRITTEN_MAX = 100;

export class Islands {
  /** What has ended here. */
  readonly ends: IslandEnds;
  readonly #deps: IslandDeps;
  readonly #rules: IslandRules;
  readonly #queues = new Map<QueueLedger, IslandQueue>();
  /** What began here and neither ended for good nor is in Redis. */
  readonly #taken = new Map<Position, Taken>();
  readonly #byRun = new WeakMap<HeldJob, Taken>();
  /** What an earlier life or a dead replica was to try again. */
  readonly #foundRetries = new Set<Position>();
  #unwritten = 0;
  #isBringing = false;
  #isStopped = false;

  constructor(deps: IslandDeps) {
    this.#deps = deps;
    this.ends = new IslandEnds(deps);
    this.#rules = new IslandRules({ ...deps, queues: () => this.#queues.values() });
  }

  /** From now on jobs of the queue run from the journal while Redis is away. */
  enable(ledger: QueueLedger): void {
    if (this.#queues.has(ledger)) return;
    const { clock, journal, isAway } = this.#deps;
    const mayRun = () =>
      !this.#isBringing && !this.#isStopped && this.#unwritten < UNWRITTEN_MAX && isAway();
    const onLaterFull = () => this.#laterFull(ledger);
    this.#queues.set(ledger, new IslandQueue(ledger, { clock, journal, mayRun, onLaterFull }));
    void this.#rules.look();
    this.#rules.follow();
  }

  #laterFull({ queue }: QueueLedger): void {
    this.#deps.log.warn(
      { event: 'island.later_full', queue },
      `more delayed jobs of queue ${queue} wait in the journal than can run from there: the others wait for Redis`,
    );
  }

  /** A job was appended that was never written to a socket. */
  kept(ledger: QueueLedger, position: Position): void {
    if (this.#deps.isAway()) this.#queues.get(ledger)?.offer(position);
  }

  /** The entry runs here, or did, as far as it is known, and Redis may not have it yet. */
  has(position: Position): boolean {
    return this.isUnderWay(position) || this.ends.has(position);
  }

  /** It began and did not end for good: it comes to Redis by `bring`. */
  isUnderWay(position: Position): boolean {
    return this.#taken.has(position) || this.#foundRetries.has(position);
  }

  /** An earlier life, or a dead replica, ran the entry: to its end, if `outcome` says how it ended. */
  found(position: Position, outcome: Position | undefined): void {
    if (outcome === undefined) this.#foundRetries.add(position);
    else this.ends.add(position, outcome, true);
  }

  /** Jobs that are in memory because they began here: those that run, and those that wait for another attempt. */
  get inMemory(): number {
    return this.#taken.size;
  }

  stop(): void {
    this.#isStopped = true;
    this.#rules.stop();
  }

  // Running ------------------------------------------------------------------------------------------

  /** Resolves when a job may begin here, or when `signal` aborts; undefined where none ever may. */
  work(ledger: QueueLedger, signal: AbortSignal): Promise<void> | undefined {
    return this.#queues.get(ledger)?.work(signal);
  }

  /**
   * The next job in the form of BullMQ's reply, in flight here; undefined if there is none.
   * @param worker the name of who takes it
   */
  take(ledger: QueueLedger, token: string, worker?: string): Promise<unknown> {
    const queue = this.#queues.get(ledger);
    if (!queue) return Promise.resolve(undefined);
    const taken = queue.turn.then(() => this.#take(queue, { token, worker }));
    queue.turn = taken;
    return taken;
  }

  async #take(queue: IslandQueue, by: TakenBy): Promise<unknown> {
    try {
      if (!queue.hasWork) return undefined;
      const retry = queue.dueRetry();
      if (retry) return this.#again(retry, by);
      await queue.read();
      while (queue.mayRun) {
        const ready = queue.ready();
        const reply = ready && (await this.#first(queue, ready, by));
        if (reply || !ready) return reply;
      }
      return undefined;
    } catch (error) {
      if (!queue.isHalted) {
        this.#deps.log.error(
          { event: 'island.halted', queue: queue.ledger.queue, err: error },
          'the journal failed: no job begins from it until it works again',
        );
      }
      queue.rest();
      return undefined;
    }
  }

  async #first(queue: IslandQueue, ready: Ready, by: TakenBy): Promise<unknown> {
    const { entry, fields } = ready;
    const { ledger } = queue;
    const { position, jobId } = entry;
    if (this.has(position)) return undefined;
    if (ledger.held.has(jobId) || ledger.unsettled.has(jobId)) return undefined;
    if (!queue.mayRun || position <= this.#deps.touched()) return undefined;
    const taken: Taken = {
      position,
      ledger,
      jobId,
      held: undefined,
      isSent: false,
      fields,
      hash: {},
      before: undefined,
    };
    // From here on the replay leaves it alone: nothing was awaited since it was looked at.
    this.#taken.set(position, taken);
    try {
      await this.#deps.journal.mark([position], 'running');
    } catch (error) {
      this.#taken.delete(position);
      queue.putBack(ready);
      throw error;
    }
    queue.isHalted = false;
    if (!queue.mayRun) {
      this.#taken.delete(position);
      return undefined;
    }
    return this.#begin(taken, by, { attemptsStarted: 1, attemptsMade: 0 });
  }

  #again({ taken, before, attemptsMade }: Retry, by: TakenBy): unknown {
    const { ledger, jobId } = taken;
    const outcome = ledger.unsettled.get(jobId);
    if (outcome?.job !== before || taken.isSent) return undefined;
    ledger.unsettled.delete(jobId);
    // It stays on disk until the next outcome is there: a process that dies between loses no attempt.
    taken.before = outcome.position;
    Object.assign(taken.fields!, noteFields(before.notes));
    const attemptsStarted = before.attemptsStarted + 1;
    const reply = this.#begin(taken, by, { attemptsStarted, attemptsMade });
    taken.held!.notes = before.notes;
    return reply;
  }

  #begin(
    taken: Taken,
    { token, worker }: TakenBy,
    counts: { attemptsStarted: number; attemptsMade: number },
  ): unknown {
    const { clock } = this.#deps;
    const { ledger, jobId } = taken;
    const processedOn = clock.wall();
    if (worker !== undefined) taken.hash.pb = worker;
    const raw = {
      ...taken.fields!,
      ...taken.hash,
      processedOn: String(processedOn),
      ats: String(counts.attemptsStarted),
      atm: String(counts.attemptsMade),
    };
    const reply = [Object.entries(raw).flat(), jobId, 0, 0];
    const held = heldFromReply(reply, token, ledger.lockMs, clock.now())!;
    held.processedOn = processedOn;
    held.hash = { ...taken.hash };
    taken.held = held;
    this.#byRun.set(held, taken);
    ledger.held.set(jobId, held);
    return reply;
  }

  /** The outcome of a run is kept. An attempt that is to be repeated is repeated here. */
  ended(settlement: Settlement): void {
    const { job } = settlement;
    const taken = this.#byRun.get(job);
    if (taken?.held !== job || this.#taken.get(taken.position) !== taken) return;
    taken.held = undefined;
    const written = taken.ledger.unsettled.get(job.id)?.position;
    if (written === undefined) this.#notWritten(taken.ledger);
    else this.#forgetBefore(taken);
    const retry = taken.isSent ? undefined : retryOf(settlement);
    if (!retry) {
      taken.fields = undefined;
      if (written !== undefined && endsJob(settlement.command)) this.#isOver(taken, written);
      return;
    }
    Object.assign(taken.hash, retry.fields);
    const { attemptsMade, delayMs } = retry;
    const dueAt = this.#deps.clock.now() + delayMs;
    this.#queues.get(taken.ledger)!.repeat({ taken, before: job, attemptsMade, dueAt });
  }

  /** The journal has all of it: memory need not. What may be in Redis without its end is recovery's. */
  #isOver({ isSent, position, ledger, jobId }: Taken, outcome: Position): void {
    if (isSent) return;
    this.ends.add(position, outcome);
    this.#taken.delete(position);
    ledger.unsettled.delete(jobId);
  }

  #notWritten({ queue }: QueueLedger): void {
    this.#unwritten += 1;
    if (this.#unwritten !== UNWRITTEN_MAX) return;
    this.#deps.log.error(
      { event: 'island.halted', queue },
      `the journal did not take how ${UNWRITTEN_MAX} jobs ended: none begins from it until Redis is back`,
    );
  }

  #forgetBefore(taken: Taken): void {
    const { before } = taken;
    taken.before = undefined;
    // What stays of it says less than the outcome after it, and is met by the next start.
    if (before !== undefined) void this.#deps.journal.settle([before]).catch(() => undefined);
  }

  // Redis is back ------------------------------------------------------------------------------------

  /**
   * Adds what began here to Redis, active under our lock, but for queues that are left out. Nothing begins any
   * more until `rest`.
   * @throws what Redis says, for an outage only
   */
  async bring(generation: Generation, isLeftOut: (ledger: QueueLedger) => boolean): Promise<void> {
    this.#isBringing = true;
    await Promise.all([...this.#queues.values()].map(({ turn }) => turn));
    for (const queue of this.#queues.values()) queue.clear();
    for (const taken of this.#taken.values()) taken.isSent = true;
    await this.bringFound(generation, isLeftOut);
    await bring(this.#deps, generation, [...this.#taken.keys()], isLeftOut);
  }

  /**
   * As `bring`, of a queue that was left out by the last one.
   * @throws what Redis says, for an outage; JournalError
   */
  async bringOf(ledger: QueueLedger, generation: Generation): Promise<void> {
    const isLeftOut = (other: QueueLedger): boolean => other !== ledger;
    await this.bringFound(generation, isLeftOut);
    await bring(this.#deps, generation, [...this.#taken.keys()], isLeftOut);
  }

  /**
   * As `bring`, of what an earlier life or a dead replica ran, also while Redis is there.
   * @throws what Redis says, for an outage; JournalError
   */
  async bringFound(
    generation: Generation,
    isLeftOut = (ledger: QueueLedger): boolean => ledger.aside !== undefined,
  ): Promise<void> {
    await this.ends.oweBegun(generation);
    const retries = [...this.#foundRetries];
    const left = await bring(this.#deps, generation, retries, isLeftOut);
    for (const position of retries) if (!left.has(position)) this.#foundRetries.delete(position);
  }

  /** Recovery failed: Redis is away as before. */
  rest(): void {
    this.#isBringing = false;
    for (const queue of this.#queues.values()) queue.wake();
  }

  /** Redis has what ran here, but for queues that are set aside; the replay and recovery do the rest. */
  admitted(): void {
    this.#isBringing = false;
    for (const [position, taken] of this.#taken) {
      if (taken.ledger.aside) continue;
      this.#taken.delete(position);
      this.#forgetBefore(taken);
      // From here on it is a job like any other, whose lock can be lost.
      delete taken.held?.processedOn;
      delete taken.held?.hash;
    }
    this.#unwritten = 0;
    void this.#rules.look();
  }
}
