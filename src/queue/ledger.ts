/**
 * What this process owes to one queue: the jobs in flight here, the outcomes that Redis does not have
 * yet, those it acknowledged within the rollback window, and the tokens of requests that never got a
 * reply. Belongs to the process, not to a Worker, so that it outlives a Worker rebuilt in place.
 *
 * Data only: it decides nothing and does no I/O.
 */
import type { Instant } from '../time.ts';
import type { Aside } from './asides.ts';

/** A job that this process took and whose handler runs, or has run. */
export interface HeldJob {
  id: string;
  token: string;
  /** Identity of the job beyond its id, which users reuse: creation time (ms since the epoch). */
  timestamp: number;
  /** BullMQ's `ats` and `atm` as they were when we took it. */
  attemptsStarted: number;
  attemptsMade: number;
  lockMs: number;
  name: string;
  /** Monotonic instant at which the lock was last known to be ours. */
  lockedAt: Instant;
  /** Monotonic instant since which its run is awaited: BullMQ may drop a job that it was given. */
  takenAt: Instant;
  /** A run has begun: its worker said so, or asked for its lock to be renewed. */
  isStarted: boolean;
  /** A run of a schedule: BullMQ drops it before it runs if it cannot make the next one. */
  isScheduled?: boolean;
  /** Who took it, as far as it must be known who leaves it; see `leave`. */
  owner?: object | undefined;
  /** What must be written before the outcome; made when there is something to keep. */
  notes: Notes | undefined;
  /** Log lines that Redis has of the job, as its answers told; undefined where that is not known. */
  logLines?: number | undefined;
  /** Notes on their way to Redis. */
  writing: Promise<void> | undefined;
  /** The dataset lost the job: there is nothing to write any more. */
  isGone: boolean;
  /** Arguments of the scheduler's update that this job caused, to be repeated after a rollback. */
  schedulerUpdate: unknown[] | undefined;
  /** BullMQ's `stc` when we took it; undefined of an outcome from disk. */
  stalls: number | undefined;
  /** Another lock of ours that it may bear: we took the job from ourselves. See `Taker.hold`. */
  alias: string | undefined;
  /** Another worker has the job. */
  isLost: boolean;
  /** When it began here, ms since the epoch; only of a job that runs from the journal. */
  processedOn?: number;
  /** With it: what else its hash is to have in Redis, such as why its earlier attempts failed. */
  hash?: Record<string, string>;
  /** A run here that had lost the job before we took it anew, and may not have ended yet. */
  earlier: HeldJob | undefined;
}

/** Annotations kept while Redis is away: the latest progress and data, bounded log lines. */
export interface Notes {
  progress: unknown[] | undefined;
  data: unknown[] | undefined;
  logs: unknown[][];
  logsDropped: number;
  /** The first `count` lines may be in Redis, behind the first `from` that it has of the job. */
  unanswered?: { from: number; count: number } | undefined;
}

/** A script that settles a job, with arguments that can be sent again. */
export interface Outcome {
  /** BullMQ's script: moveToFinished, moveToDelayed, retryJob, moveJobFromActiveToWait. */
  command: string;
  /** Keys and arguments as they were sent; fetchNext is taken off when they are sent again. */
  args: readonly unknown[];
  job: HeldJob;
  /** ms since the epoch */
  at: number;
  /** Position in the journal; undefined while only memory has it (rollback window). */
  position: number | undefined;
  /**
   * Acknowledged in calm weather. A server loses the last of what it did and nothing else: if it has this
   * outcome, it has those that it acknowledged before. One that a recovery wrote says nothing of others,
   * since those before it may be about to be healed.
   */
  isWitness?: boolean;
}

/** A job that runs here, or whose outcome is known here, and that the dataset has forgotten. */
export interface Undone {
  job: HeldJob;
  /** Undefined while the handler runs; of one that ended since, how it ended. */
  outcome: Outcome | undefined;
  /** Monotonic instant until which its add may come again. */
  until: Instant;
}

/** Log lines of one job that are kept while Redis is away. */
export const LOG_LINES_MAX = 1000;
/** Bytes of outcomes kept for the rollback window; the oldest go first. */
export const WINDOW_BYTES_MAX = 32 * 1024 * 1024;
/** Tokens in doubt that are remembered; a worker has one per free slot, so this is never met. */
export const DOUBTFUL_MAX = 10_000;

/** See `fence.ts`: the key that holds the epoch, the last moment to act, the epoch of the command. */
export interface Fence {
  epochKey: string;
  deadline: number;
  epoch: string;
}

export class QueueLedger {
  readonly prefix: string;
  readonly queue: string;
  readonly held = new Map<string, HeldJob>();
  readonly unsettled = new Map<string, Outcome>();
  readonly doubtful = new Set<string>();
  /** Settled before their notes were written: memory was full, or a frozen server ran the settle alone. */
  readonly owed = new Set<HeldJob>();
  /** What a rollback undid together with its add: ours again if the producer adds it again. */
  readonly undone = new Map<string, Undone>();
  /** Epoch that this process's commands carry; undefined until a recovery has set it in Redis. */
  epoch: string | undefined;
  /** The generation in which the epoch is set: commands need not wait for it. */
  readyIn: object | undefined;
  /** Its data in Redis is broken: for the queue the outage goes on here. See `Asides`. */
  aside: Aside | undefined;
  /** Monotonic instant until which the fleet's barrier keeps us from taking work. */
  barrierUntil: Instant = 0;
  lockMs = 30_000;
  /** Monotonic instant at which stalled jobs were last looked for here, and how often that is to be, ms. */
  checkedAt: Instant = Number.NEGATIVE_INFINITY;
  stalledIntervalMs = 30_000;
  /** Backends that are open for the queue here. */
  users = 0;
  /** Slots of the worker that consumes the queue here; 0 for producers. */
  concurrency = 0;
  /** Fetches that have a job and wait to make its schedule's next run: no job that they brought starts before. */
  starting = 0;
  /** Monotonic instant until which the queue is to be limited, where Redis has yet to hear of it. */
  limitedUntil: Instant | undefined;
  /** Settles whose end is not known: a stop waits until each is in Redis or in the journal. */
  settling = 0;
  /** No more than these may be in flight here, whatever the worker's slots; see `RedisTarget.limitSlots`. */
  slotsMax: number | undefined;
  /** What a run does when this process alone is cut off and its lock is about to expire. */
  onLeaseLost: 'continue' | 'abort' = 'continue';
  /** Monotonic instant of the last answer to a request for work, or until which it forbade another. */
  lastTakeAnswered: Instant = 0;
  #epochKey: string | undefined;
  #replayKey: string | undefined;
  #window: Outcome[] = [];
  /** Bytes of each, in the same places. */
  #windowSizes: number[] = [];
  #windowHead = 0;
  #windowBytes = 0;

  constructor(prefix: string, queue: string) {
    this.prefix = prefix;
    this.queue = queue;
  }

  /** Nothing is owed to the queue, and nobody here works with it. */
  get isIdle(): boolean {
    const { users, concurrency, settling, slotsMax, onLeaseLost } = this;
    if (users > 0 || concurrency > 0 || settling > 0 || this.aside) return false;
    if (slotsMax !== undefined || onLeaseLost !== 'continue') return false;
    const owing = [this.held, this.unsettled, this.doubtful, this.owed, this.undone];
    return owing.every(({ size }) => size === 0) && this.#windowHead === this.#window.length;
  }

  /** Our own key of this queue: `<prefix>:<queue>:holdfast:<name>`. */
  key(name: string): string {
    return `${this.prefix}:${this.queue}:holdfast:${name}`;
  }

  /** The epoch key of a process; asked for with every command, so it is made once. */
  epochKey(processId: string): string {
    this.#epochKey ??= this.key(`epoch:${processId}`);
    return this.#epochKey;
  }

  /** The series of what a process takes from its journal; asked for with every entry. */
  replayKey(processId: string): string {
    this.#replayKey ??= this.key(`replay:${processId}`);
    return this.#replayKey;
  }

  /** What a fenced command of a process carries; `deadline` is server time, ms. */
  fence(processId: string, deadline: number): Fence {
    return { epochKey: this.epochKey(processId), deadline, epoch: this.epoch ?? 'none' };
  }

  toKey(type: string): string {
    return `${this.prefix}:${this.queue}:${type}`;
  }

  /** Remembers an outcome that Redis has acknowledged. It forgets no other for its age: see `window`. */
  remember(outcome: Outcome): void {
    const bytes = bytesOf(outcome);
    this.#window.push(outcome);
    this.#windowSizes.push(bytes);
    this.#windowBytes += bytes;
    while (this.#windowBytes > WINDOW_BYTES_MAX && this.#windowHead < this.#window.length - 1) {
      this.#drop();
    }
  }

  /**
   * Outcomes acknowledged within the window, oldest first. Its time stands still while Redis is away and
   * until what a rollback undid is healed: whoever forgets does so in calm weather or at a recovery's end.
   */
  get window(): readonly Outcome[] {
    return this.#window.slice(this.#windowHead);
  }

  forgetBefore(at: number): void {
    while (this.#windowHead < this.#window.length && this.#window[this.#windowHead]!.at < at) {
      this.#drop();
    }
  }

  /** The time of the window begins anew: what it has may be lost with the server's next death as well. */
  renewWindow(at: number): void {
    for (let i = this.#windowHead; i < this.#window.length; i += 1) this.#window[i]!.at = at;
  }

  /** The oldest goes; the array is cut now and then, since a shift would move all that is left. */
  #drop(): void {
    this.#windowBytes -= this.#windowSizes[this.#windowHead]!;
    this.#windowHead += 1;
    if (this.#windowHead >= 1024 && this.#windowHead * 2 > this.#window.length) {
      this.#window = this.#window.slice(this.#windowHead);
      this.#windowSizes = this.#windowSizes.slice(this.#windowHead);
      this.#windowHead = 0;
    }
  }

  /** A run of the job has begun. */
  began(jobId: string, token: string): void {
    const job = this.held.get(jobId);
    if (job?.token === token) job.isStarted = true;
  }

  /** A fetch that has a job is over: the jobs that wait for their start begin now. */
  mayStart(now: Instant): void {
    this.starting -= 1;
    for (const job of this.held.values()) if (!job.isStarted) job.takenAt = now;
  }

  /** The run is over. Another run of the same job may have begun here. */
  release(job: HeldJob): void {
    if (this.held.get(job.id) === job) this.held.delete(job.id);
  }

  /**
   * A Worker was closed by force: what it still ran is nobody's any more, as BullMQ has it. The locks run
   * out, and whoever finds the jobs stalled runs them.
   */
  leave(owner: object): void {
    for (const job of this.held.values()) if (job.owner === owner) this.release(job);
  }

  doubt(token: string): void {
    if (this.doubtful.size < DOUBTFUL_MAX) this.doubtful.add(token);
  }
}

/** Rough size of an outcome in memory, bytes: what it carries, and what carries it. */
function bytesOf(outcome: Outcome): number {
  let bytes = 500;
  for (const arg of outcome.args) if (typeof arg === 'string') bytes += arg.length;
  return bytes;
}

/** A held job from the reply of a script that took it: `[[field, value, …], id, …]`. */
export function heldFromReply(
  raw: unknown,
  token: string,
  lockMs: number,
  now: Instant,
  owner?: object,
): HeldJob | undefined {
  if (!Array.isArray(raw) || !Array.isArray(raw[0])) return undefined;
  const fields = raw[0] as unknown[];
  let timestamp = 0;
  let attemptsStarted = 0;
  let attemptsMade = 0;
  let name = '';
  let stalls = 0;
  let isScheduled = false;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    switch (fields[i]) {
      case 'timestamp':
        timestamp = Number(fields[i + 1]);
        break;
      case 'ats':
        attemptsStarted = Number(fields[i + 1]);
        break;
      case 'atm':
      case 'attemptsMade':
        attemptsMade = Number(fields[i + 1]);
        break;
      case 'rjk':
        isScheduled = true;
        break;
      case 'stc':
        stalls = Number(fields[i + 1]);
        break;
      case 'name':
        name = String(fields[i + 1]);
        break;
    }
  }
  return {
    id: String(raw[1]),
    token,
    timestamp,
    attemptsStarted,
    attemptsMade,
    lockMs,
    name,
    lockedAt: now,
    takenAt: now,
    isStarted: false,
    isScheduled,
    owner,
    notes: undefined,
    logLines: attemptsStarted === 1 ? 0 : undefined,
    writing: undefined,
    isGone: false,
    schedulerUpdate: undefined,
    stalls,
    alias: undefined,
    isLost: false,
    earlier: undefined,
  };
}
