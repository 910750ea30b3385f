/**
 * Accepted jobs from the journal to Redis, in order, exactly once. Each entry goes under a number: its
 * place among what its process wrote to the journal, or the number under which it had been sent before
 * the journal took it over. So what was written and not answered, by this life or an earlier
 * one, is never written again, and nothing is noted on disk for it.
 *
 * Entries stay on disk for the rollback window after Redis has them: a restart that loses its last
 * moments loses the numbers too, and the entries are sent again.
 */
import type { JobEntry, Kept, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock, Instant } from '../time.ts';
import type { AddWork } from './add-series.ts';
import type { Generation } from './generation.ts';
import { runPlace } from './island-job.ts';
import { type AcceptedJob, type Place, storedJob } from './job-store.ts';
import type { QueueLedger } from './ledger.ts';
import { fencedReason } from './lua/fence.ts';

export interface ReplayerDeps {
  clock: Clock;
  processId: string;
  rollbackWindowMs: number;
  ledger(prefix: string, queue: string): QueueLedger;
  generation(): Generation | undefined;
  ready(ledger: QueueLedger, generation: Generation): Promise<void>;
  workOf(ledger: QueueLedger, job: AcceptedJob): Promise<AddWork>;
  /** It runs here from the journal, and Redis does not have it yet: no business of the replay's. */
  isRunning(position: Position): boolean;
  isOutage(error: unknown, generation: Generation): boolean;
  compareClocks(generation: Generation): Promise<void>;
  /** Entries sent at once. Default 256. */
  pageEntries?: number;
  /** It is at its end, or not any more, or clear. */
  onChange(): void;
  /** Everything is in Redis, so many of it by this replay. */
  onClear(count: number): void;
  onTrouble(ledger: QueueLedger | undefined, error: unknown): void;
}

/** Entries sent at once: one round trip for many, without a burst that fills the socket. */
const PAGE_ENTRIES = 256;
/** A page that is still out of order after so many looks is left to the next recovery. */
const LOOKS_MAX = 10;

interface Step {
  entry: Kept<JobEntry>;
  ledger: QueueLedger;
  work: AddWork;
  place: Place;
}

type Fate = 'acted' | 'again' | { refused: string };

export class Replayer {
  readonly #deps: ReplayerDeps;
  readonly #journal: Journal;
  readonly #pageEntries: number;
  /** Everything up to here is in Redis, refused, or decided elsewhere. */
  #through = Number.MIN_SAFE_INTEGER;
  /** Entries up to here may have been written to a socket in this life. */
  #touched: Position = Number.MIN_SAFE_INTEGER;
  /** A page that was begun before one of these says nothing about the journal after it. */
  #rewinds = 0;
  /** Something may be in Redis since our start, so that a worker may have run it. */
  #hasSent = false;
  /** Appends under way, and adds in doubt. */
  #expected = 0;
  #deciding = 0;
  /** Entries came since the journal was last read to its end. */
  #hasNews: boolean;
  #isClear: boolean;
  #isAtEnd = false;
  #running: { generation: Generation; done: Promise<void> } | undefined;
  #wake: (() => void) | undefined;
  /** What Redis has and the window still keeps on disk, oldest first. */
  #lingering: { positions: number[]; at: Instant }[] = [];
  #cancelSweep: (() => void) | undefined;
  #replayed = 0;
  /** The dataset may have lost what workers ran. */
  #isRewound = false;
  #lastPlace = 0;
  /** Where what was in doubt is decided, so that entries may follow. */
  #admitted: Generation | undefined;
  #isStopped = false;

  constructor(deps: ReplayerDeps, journal: Journal) {
    this.#deps = deps;
    this.#journal = journal;
    this.#pageEntries = deps.pageEntries ?? PAGE_ENTRIES;
    this.#hasNews = journal.stats().jobs > 0;
    this.#isClear = !this.#hasNews;
  }

  /** Redis has everything that was accepted: new jobs may go there straight. */
  get isClear(): boolean {
    return this.#isClear;
  }

  /** All but the last moments is in Redis: whoever waits a little may find it clear. */
  get isAtEnd(): boolean {
    return this.#isAtEnd;
  }

  /** Nothing behind this entry was written to a socket by this replay. */
  get touched(): Position {
    return this.#touched;
  }

  /** It was waited for, and did not come. */
  giveUpEnd(): void {
    this.#isAtEnd = false;
  }

  /** An entry is being written; call what is returned when it is, or is not. */
  expect(): () => void {
    this.#isClear = false;
    this.#expected += 1;
    return () => {
      this.#expected -= 1;
      this.#hasNews = true;
      this.#wakeUp();
    };
  }

  /** The number of the next entry, in the order of appending. */
  nextPlace(ledger: QueueLedger): Place {
    this.#lastPlace += 1;
    return { key: ledger.key(`replay:${this.#deps.processId}`), number: this.#lastPlace };
  }

  /** As `expect`, for an add that its own series decides. */
  expectDecision(): () => void {
    this.#isClear = false;
    this.#deciding += 1;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#deciding -= 1;
      this.#wakeUp();
    };
  }

  /** The dataset may be another, or entries of another replica came: all is looked at again. */
  rewind(): void {
    this.#through = Number.MIN_SAFE_INTEGER;
    this.#rewinds += 1;
    if (this.#lingering.length > 0 || this.#journal.stats().jobs > 0) {
      this.#hasNews = true;
      this.#isClear = false;
      this.#isRewound = this.#hasSent;
    }
    this.#lingering = [];
  }

  /** The breaker closed, and what was in doubt is decided. */
  recovered(generation: Generation): void {
    this.#admitted = generation;
    this.#wakeUp();
  }

  /** Takes what Redis has out of the journal; what it does not have stays. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelSweep?.();
    this.#isAtEnd = false;
    this.#wake?.();
    await this.#settleLingering(Number.POSITIVE_INFINITY);
  }

  #wakeUp(): void {
    this.#wake?.();
    const generation = this.#deps.generation();
    if (!generation || generation !== this.#admitted) return;
    if (this.#isClear || this.#isStopped) return;
    if (this.#running?.generation === generation) return;
    const before = this.#running?.done ?? Promise.resolve();
    const done = before
      .then(() => this.#run(generation))
      .catch((error: unknown) => {
        if (!this.#deps.isOutage(error, generation)) this.#deps.onTrouble(undefined, error);
      })
      .finally(() => {
        this.#setAtEnd(false);
        if (this.#running?.done === done) this.#running = undefined;
      });
    this.#running = { generation, done };
  }

  async #run(generation: Generation): Promise<void> {
    /** What the series' keys hold. */
    const last = new Map<string, number>();
    while (generation.alive && !this.#isStopped) {
      this.#hasNews = false;
      if (!(await this.#replayAll(generation, last))) return;
      if (this.#hasNews) continue;
      if (this.#expected === 0 && this.#deciding === 0) {
        this.#isClear = true;
        this.#isRewound = false;
        this.#deps.onChange();
        if (this.#replayed > 0) this.#deps.onClear(this.#replayed);
        this.#replayed = 0;
        return;
      }
      // What Redis has not decided may take long: nobody is held for it.
      if (this.#deciding > 0) this.#setAtEnd(false);
      else this.#setAtEnd(true);
      await this.#woken();
    }
  }

  /**
   * All that the journal has now. The next page is made ready while one is under way: without that the
   * replay had 0.64 of the rate of plain `addBulk`, with it 0.88 and 0.94.
   * @returns whether it came to the end
   */
  async #replayAll(generation: Generation, last: Map<string, number>): Promise<boolean> {
    let underWay: Promise<void> = Promise.resolve();
    try {
      for await (const page of this.#pages()) {
        if (!generation.alive || this.#isStopped) return false;
        const rewinds = this.#rewinds;
        const steps = await this.#stepsOf(page, generation);
        await underWay;
        if (page.length < this.#pageEntries) this.#setAtEnd(true);
        underWay = this.#replayPage(page, steps, rewinds, generation, last);
        // Its failure is met when it is awaited.
        underWay.catch(() => undefined);
      }
      await underWay;
      return true;
    } finally {
      await underWay.catch(() => undefined);
    }
  }

  /** From the last place on; the next page is read while one is sent. */
  async *#pages(): AsyncGenerator<Kept<JobEntry>[]> {
    const entries = this.#journal.jobs(undefined, this.#through)[Symbol.asyncIterator]();
    let next = take(entries, this.#pageEntries);
    for (;;) {
      const page = await next;
      if (page.length === 0) return;
      next =
        page.length < this.#pageEntries ? Promise.resolve([]) : take(entries, this.#pageEntries);
      // Its failure is met when it is awaited.
      next.catch(() => undefined);
      yield page;
    }
  }

  async #replayPage(
    page: readonly Kept<JobEntry>[],
    made: Step[],
    rewinds: number,
    generation: Generation,
    last: Map<string, number>,
  ): Promise<void> {
    let steps = made;
    for (let looks = 0; steps.length > 0; looks += 1) {
      if (looks >= LOOKS_MAX) throw new Error('journaled jobs are out of order at Redis');
      await this.#learn(steps, generation, last);
      const fates = await Promise.all(steps.map((step) => this.#send(step, generation, last)));
      const again = await this.#settled(steps, fates, rewinds);
      if (again.length > 0) {
        last.clear();
        await this.#deps.compareClocks(generation);
      }
      steps = again;
    }
    if (rewinds === this.#rewinds) this.#through = page.at(-1)!.position;
  }

  async #stepsOf(page: readonly Kept<JobEntry>[], generation: Generation): Promise<Step[]> {
    const steps: Step[] = [];
    this.#touched = Math.max(this.#touched, page.at(-1)!.position);
    for (const entry of page) {
      const ledger = this.#deps.ledger(entry.prefix, entry.queue);
      const job = storedJob(entry);
      const place = entry.mark === 'running' ? runPlace(job.place) : job.place;
      if (this.#deps.isRunning(entry.position)) continue;
      // Of this life: the series itself decides, from memory.
      if (place.key.endsWith(`:adds:${this.#deps.processId}`)) continue;
      if (ledger.readyIn !== generation) await this.#deps.ready(ledger, generation);
      steps.push({ entry, ledger, work: await this.#deps.workOf(ledger, job), place });
    }
    return steps;
  }

  async #learn(
    steps: readonly Step[],
    generation: Generation,
    last: Map<string, number>,
  ): Promise<void> {
    const unknown = new Set(steps.map(({ place }) => place.key).filter((key) => !last.has(key)));
    for (const key of unknown) last.set(key, Number((await generation.client.get(key)) ?? 0));
  }

  /** Rejects for an outage only. */
  async #send(step: Step, generation: Generation, last: Map<string, number>): Promise<Fate> {
    const { key, number } = step.place;
    const before = last.get(key)!;
    if (number <= before) return 'acted';
    last.set(key, number);
    this.#hasSent = true;
    try {
      const place = { key, before, number };
      const reply = this.#isRewound
        ? await step.work.sendAgain(generation, place)
        : await step.work.send(generation, place);
      if (typeof reply === 'number' && reply < 0) return { refused: `BullMQ answered ${reply}` };
      return 'acted';
    } catch (error) {
      const reason = fencedReason(error);
      if (reason === 'late' || reason === 'number') return 'again';
      if (this.#deps.isOutage(error, generation)) throw error;
      return { refused: error instanceof Error ? error.message : String(error) };
    }
  }

  /** @returns what is to be sent again */
  async #settled(steps: readonly Step[], fates: readonly Fate[], rewinds: number): Promise<Step[]> {
    const again: Step[] = [];
    const acted: number[] = [];
    for (const [i, fate] of fates.entries()) {
      const step = steps[i]!;
      if (fate === 'again') again.push(step);
      else if (fate === 'acted') acted.push(step.entry.position);
      else await this.#journal.refuse(step.entry.position, fate.refused);
    }
    if (acted.length > 0 && rewinds === this.#rewinds) {
      this.#lingering.push({ positions: acted, at: this.#deps.clock.now() });
      this.#sweepLater();
      this.#replayed += acted.length;
    }
    return again;
  }

  // The window ---------------------------------------------------------------------------------------

  #sweepLater(): void {
    const { clock, rollbackWindowMs } = this.#deps;
    if (this.#isStopped) return;
    this.#cancelSweep ??= clock.after(Math.max(1, rollbackWindowMs), () => {
      this.#cancelSweep = undefined;
      // The window stands still while Redis is away.
      const until = this.#deps.generation() ? clock.now() - rollbackWindowMs : 0;
      void this.#settleLingering(until).finally(() => {
        if (this.#lingering.length > 0) this.#sweepLater();
      });
    });
  }

  async #settleLingering(until: Instant): Promise<void> {
    const positions: number[] = [];
    while (this.#lingering.length > 0 && this.#lingering[0]!.at <= until) {
      positions.push(...this.#lingering.shift()!.positions);
    }
    try {
      if (positions.length > 0) await this.#journal.settle(positions);
    } catch (error) {
      // They are met again by the next start, whose numbers say that Redis has them.
      this.#deps.onTrouble(undefined, error);
    }
  }

  // Waiting ------------------------------------------------------------------------------------------

  async #woken(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  #setAtEnd(isAtEnd: boolean): void {
    if (this.#isAtEnd === isAtEnd) return;
    this.#isAtEnd = isAtEnd;
    this.#deps.onChange();
  }

  /** The breaker opened: whoever waits for the end of the replay need not. */
  interrupted(): void {
    this.#setAtEnd(false);
    this.#wake?.();
  }
}

async function take<T>(entries: AsyncIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  while (taken.length < count) {
    const next = await entries.next();
    if (next.done) break;
    taken.push(next.value);
  }
  return taken;
}
