/**
 * What one queue may run from the journal next: entries that were accepted while Redis is away, read in
 * pages, delayed ones when they are due, and attempts that are to be repeated. Says when there is something;
 * what becomes of it is not its business.
 *
 * What it must never do: offer an entry that was accepted before Redis went away.
 */
import type { JobEntry, Kept, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock, Instant } from '../time.ts';
import { type IslandFields, type IslandJob, islandJob } from './island-job.ts';
import { IslandLater } from './island-later.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';

/** Entries that are looked at in one read. */
const PAGE_ENTRIES = 256;
/** Jobs of a queue that may wait for their next attempt here; then no other begins. */
const RETRIES_MAX = 1000;
/** After a failure of the journal nothing begins for so long, ms. */
const REST_MS = 1000;
/** A timer cannot be set for longer than 24 days, nor need it be, ms. */
const LOOK_MAX_MS = 3_600_000;

/** An entry that may run. */
export interface Ready extends IslandJob {
  entry: Kept<JobEntry>;
}

/** A job of the journal that was begun here. */
export interface Taken {
  position: Position;
  ledger: QueueLedger;
  jobId: string;
  /** While it runs. */
  held: HeldJob | undefined;
  /** It may be in Redis: no attempt begins here any more. */
  isSent: boolean;
  /** Kept while another attempt may come. */
  fields: IslandFields | undefined;
  /** What its runs here wrote into its hash beside these; see {@link HeldJob.hash}. */
  hash: IslandFields;
  /** Where the journal has what the attempt before made of it, while the next one runs. */
  before: Position | undefined;
}

/** Who takes a job: the lock's token, and the Worker's name. */
export interface TakenBy {
  token: string;
  worker: string | undefined;
}

/** An attempt that is to be made. */
export interface Retry {
  taken: Taken;
  /** The run before. */
  before: HeldJob;
  attemptsMade: number;
  dueAt: Instant;
}

export interface IslandQueueDeps {
  clock: Clock;
  journal: Pick<Journal, 'jobs'>;
  /** Redis is away, and nothing else keeps jobs from beginning here. */
  mayRun(): boolean;
  /** More delayed jobs wait than are remembered: the others wait for Redis. Once in an outage. */
  onLaterFull(): void;
  /** Another bound of what is remembered, for tests. */
  laterMax?: number;
}

export class IslandQueue {
  readonly ledger: QueueLedger;
  /** What forbids it; undefined when nothing does. */
  refusal: string | undefined = 'Redis was not there yet since the start';
  /** The journal failed, and no job has begun since: said once. */
  isHalted = false;
  /** The last take: each begins after the one before. */
  turn: Promise<unknown> = Promise.resolve();
  readonly #deps: IslandQueueDeps;
  /** Everything up to here was read, or is not ours to run. */
  #cursor: Position = Number.MAX_SAFE_INTEGER;
  /** There may be entries behind the cursor. */
  #hasMore = false;
  /** Read and not begun, most urgent first. */
  #read: Ready[] = [];
  /** Read and not due. */
  readonly #later: IslandLater;
  /** Delayed jobs up to here were seen. */
  #laterThrough: Position = Number.MIN_SAFE_INTEGER;
  #isLaterFull = false;
  /** What was read last: entries in their order and those that fall due take turns. */
  #wasPage = false;
  #retries: Retry[] = [];
  #restUntil: Instant = Number.NEGATIVE_INFINITY;
  readonly #waiting = new Set<() => void>();

  constructor(ledger: QueueLedger, deps: IslandQueueDeps) {
    this.ledger = ledger;
    this.#deps = deps;
    this.#later = new IslandLater(deps.laterMax);
  }

  /** This entry was accepted just now, and so was what comes behind it. */
  offer(position: Position): void {
    this.#cursor = Math.min(this.#cursor, position - 1);
    this.#hasMore = true;
    this.wake();
  }

  repeat(retry: Retry): void {
    this.#retries.push(retry);
    this.wake();
  }

  /** Forgets what was offered: Redis is there, or may be. */
  clear(): void {
    this.#cursor = Number.MAX_SAFE_INTEGER;
    this.#hasMore = false;
    this.#read = [];
    this.#retries = [];
    this.#later.clear();
    this.#isLaterFull = false;
  }

  /** Nothing begins for a moment. */
  rest(): void {
    this.isHalted = true;
    this.#restUntil = this.#deps.clock.now() + REST_MS;
  }

  /** What was ready and did not begin, back to the head of the list. */
  putBack(ready: Ready): void {
    this.#read.unshift(ready);
  }

  get mayRun(): boolean {
    return (
      this.refusal === undefined &&
      this.#deps.mayRun() &&
      this.#deps.clock.now() >= this.#restUntil &&
      this.ledger.held.size < (this.ledger.slotsMax ?? Number.POSITIVE_INFINITY)
    );
  }

  get hasWork(): boolean {
    if (!this.mayRun) return false;
    const now = this.#deps.clock.now();
    if (this.#retries.some(({ dueAt }) => dueAt <= now)) return true;
    if (this.#retries.length >= RETRIES_MAX) return false;
    return this.#hasMore || this.#read.length > 0 || this.#hasDue;
  }

  get #hasDue(): boolean {
    return (this.#later.nextDueAt ?? Number.POSITIVE_INFINITY) <= this.#deps.clock.now();
  }

  /** Takes an attempt that is due off the list. */
  dueRetry(): Retry | undefined {
    const now = this.#deps.clock.now();
    const at = this.#retries.findIndex(({ dueAt }) => dueAt <= now);
    return at < 0 ? undefined : this.#retries.splice(at, 1)[0];
  }

  /** Takes the next entry that was read off the list. */
  ready(): Ready | undefined {
    return this.#retries.length < RETRIES_MAX ? this.#read.shift() : undefined;
  }

  /**
   * One page of what was offered or fell due, if nothing is left of the page before. Not more at once:
   * while a Worker waits for this answer it starts no job that it has already.
   */
  async read(): Promise<void> {
    if (this.#read.length > 0) return;
    this.#wasPage = this.#hasMore && !(this.#wasPage && this.#hasDue);
    const found = this.#wasPage ? await this.#page() : await this.#due();
    this.#read = found.sort((a, b) => Number(a.fields.priority) - Number(b.fields.priority));
  }

  async #page(): Promise<Ready[]> {
    // An offer from here on says again that there is more.
    this.#hasMore = false;
    const found: Ready[] = [];
    let looked = 0;
    try {
      for await (const entry of this.#deps.journal.jobs(this.ledger.queue, this.#cursor)) {
        this.#cursor = entry.position;
        looked += 1;
        const ready = this.#readyOf(entry);
        if (ready && !this.#waits(ready)) found.push(ready);
        if (looked < PAGE_ENTRIES) continue;
        this.#hasMore = true;
        break;
      }
    } catch (error) {
      // Nobody reads it again: the cursor is behind it.
      this.#read = found;
      this.#hasMore = true;
      throw error;
    }
    return found;
  }

  /** What has fallen due, as the journal has it by now. */
  async #due(): Promise<Ready[]> {
    const due = this.#later.takeDue(this.#deps.clock.now(), PAGE_ENTRIES);
    const found = new Map<Position, Ready>();
    try {
      const positions = due.map(({ position }) => position).sort((a, b) => a - b);
      let from = 0;
      while (from < positions.length) from = await this.#find(positions, from, found);
    } catch (error) {
      for (const { position, dueAt } of due) this.#later.add(position, dueAt);
      throw error;
    }
    return due.flatMap(({ position }) => found.get(position) ?? []);
  }

  /** Those of the positions, from one on, that a page of the journal reaches; returns the next. */
  async #find(positions: Position[], from: number, found: Map<Position, Ready>): Promise<number> {
    const first = positions[from]!;
    let to = from + 1;
    while (to < positions.length && positions[to]! - first < PAGE_ENTRIES) to += 1;
    const wanted = new Set(positions.slice(from, to));
    const last = positions[to - 1]!;
    for await (const entry of this.#deps.journal.jobs(this.ledger.queue, first - 1)) {
      if (entry.position > last) break;
      const ready = wanted.has(entry.position) ? this.#readyOf(entry) : undefined;
      if (ready) found.set(entry.position, ready);
      if (entry.position === last) break;
    }
    return to;
  }

  #readyOf(entry: Kept<JobEntry>): Ready | undefined {
    if (entry.prefix !== this.ledger.prefix || entry.mark !== 'unsent') return undefined;
    const job = islandJob(this.ledger, entry);
    return job && { entry, ...job };
  }

  /** Puts a delayed job aside until its time; what was read before is there already, or has run. */
  #waits({ entry: { position }, dueAt }: Ready): boolean {
    if (dueAt === undefined) return false;
    if (position <= this.#laterThrough) return true;
    this.#laterThrough = position;
    const { clock, onLaterFull } = this.#deps;
    const inMs = dueAt - clock.wall();
    if (inMs <= 0) return false;
    if (!this.#later.add(position, clock.now() + inMs) && !this.#isLaterFull) {
      this.#isLaterFull = true;
      onLaterFull();
    }
    return true;
  }

  /** Resolves when a job may begin here, or when `signal` aborts. */
  work(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      let cancel: (() => void) | undefined;
      const look = () => {
        cancel?.();
        cancel = undefined;
        if (signal.aborted || this.hasWork) {
          this.#waiting.delete(look);
          signal.removeEventListener('abort', look);
          resolve();
          return;
        }
        const nextMs = this.#nextLookMs();
        if (nextMs !== undefined) cancel = this.#deps.clock.after(nextMs, look);
      };
      this.#waiting.add(look);
      signal.addEventListener('abort', look, { once: true });
      look();
    });
  }

  wake(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** When to look again without being woken, ms. */
  #nextLookMs(): number | undefined {
    const now = this.#deps.clock.now();
    const isHeldUp = this.#restUntil > now || this.ledger.slotsMax !== undefined;
    const dues = this.#retries.map(({ dueAt }) => dueAt - now);
    const { nextDueAt } = this.#later;
    // While no other begins, a retry that comes to its end looks again.
    if (nextDueAt !== undefined && dues.length < RETRIES_MAX) dues.push(nextDueAt - now);
    const nextMs = Math.min(...dues, isHeldUp ? REST_MS : Number.POSITIVE_INFINITY);
    if (!Number.isFinite(nextMs)) return undefined;
    return Math.min(LOOK_MAX_MS, Math.max(this.mayRun ? 1 : REST_MS, nextMs));
  }
}
