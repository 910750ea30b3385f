/**
 * What this process owes to one queue: the jobs in flight here, the outcomes that Redis does not have
 * yet, those it acknowledged within the rollback window, and the tokens of requests that never got a
 * reply. Belongs to the process, not to a Worker, so that it outlives a Worker rebuilt in place.
 *
 * Data only: it decides nothing and does no I/O.
 */
import type { Instant } from '../time.ts';

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
  /** Monotonic instant of the Worker's last renewal: a job never renewed has no handler. */
  renewedAt: Instant;
  /** What must be written before the outcome. */
  notes: Notes;
  /** Arguments of the scheduler's update that this job caused, to be repeated after a rollback. */
  schedulerUpdate: unknown[] | undefined;
}

/** Annotations kept while Redis is away: the latest progress and data, bounded log lines. */
export interface Notes {
  progress: unknown[] | undefined;
  data: unknown[] | undefined;
  logs: unknown[][];
  logsDropped: number;
}

/** A script that settles a job, with arguments that can be sent again. */
export interface Outcome {
  /** BullMQ's script: moveToFinished, moveToDelayed, retryJob, moveJobFromActiveToWait. */
  command: string;
  /** Keys and arguments, with fetchNext off. */
  args: unknown[];
  job: HeldJob;
  /** ms since the epoch */
  at: number;
  /** Position in the journal; undefined while only memory has it (rollback window). */
  position: number | undefined;
}

/** Log lines of one job that are kept while Redis is away. */
export const LOG_LINES_MAX = 1000;
/** Bytes of outcomes kept for the rollback window; the oldest go first. */
export const WINDOW_BYTES_MAX = 32 * 1024 * 1024;
/** Tokens in doubt that are remembered; a worker has one per free slot, so this is never met. */
export const DOUBTFUL_MAX = 10_000;

export class QueueLedger {
  readonly prefix: string;
  readonly queue: string;
  readonly held = new Map<string, HeldJob>();
  readonly unsettled = new Map<string, Outcome>();
  readonly doubtful = new Set<string>();
  /** Epoch that this process's commands carry; undefined until a recovery has set it in Redis. */
  epoch: string | undefined;
  /** Monotonic instant until which the fleet's barrier keeps us from taking work. */
  barrierUntil: Instant = 0;
  lockMs = 30_000;
  /** Slots of the worker that consumes the queue here; 0 for producers. */
  concurrency = 0;
  /** What a run does when this process alone is cut off and its lock is about to expire. */
  onLeaseLost: 'continue' | 'abort' = 'continue';
  /** Monotonic instant of the last answer to a request for work. */
  lastTakeAnswered: Instant = 0;
  #window: Outcome[] = [];
  #windowBytes = 0;

  constructor(prefix: string, queue: string) {
    this.prefix = prefix;
    this.queue = queue;
  }

  /** Our own key of this queue: `<prefix>:<queue>:holdfast:<name>`. */
  key(name: string): string {
    return `${this.prefix}:${this.queue}:holdfast:${name}`;
  }

  toKey(type: string): string {
    return `${this.prefix}:${this.queue}:${type}`;
  }

  /** Remembers an outcome that Redis has acknowledged, until the window has passed. */
  remember(outcome: Outcome, windowMs: number): void {
    this.forgetBefore(outcome.at - windowMs);
    this.#window.push(outcome);
    this.#windowBytes += bytesOf(outcome);
    while (this.#windowBytes > WINDOW_BYTES_MAX && this.#window.length > 1) this.#drop();
  }

  /** Outcomes acknowledged within the window; frozen while the breaker is not closed. */
  get window(): readonly Outcome[] {
    return this.#window;
  }

  forgetBefore(at: number): void {
    while (this.#window.length > 0 && this.#window[0]!.at < at) this.#drop();
  }

  clearWindow(): void {
    this.#window = [];
    this.#windowBytes = 0;
  }

  #drop(): void {
    const outcome = this.#window.shift();
    if (outcome) this.#windowBytes -= bytesOf(outcome);
  }

  doubt(token: string): void {
    if (this.doubtful.size < DOUBTFUL_MAX) this.doubtful.add(token);
  }
}

/** Rough size of an outcome's arguments in bytes. */
function bytesOf(outcome: Outcome): number {
  let bytes = 200;
  for (const arg of outcome.args) {
    if (typeof arg === 'string') bytes += arg.length;
    else if (Buffer.isBuffer(arg)) bytes += arg.length;
  }
  return bytes;
}

/** A held job from the reply of a script that took it: `[[field, value, …], id, …]`. */
export function heldFromReply(
  raw: unknown,
  token: string,
  lockMs: number,
  now: Instant,
): HeldJob | undefined {
  if (!Array.isArray(raw) || !Array.isArray(raw[0])) return undefined;
  const fields = raw[0] as unknown[];
  let timestamp = 0;
  let attemptsStarted = 0;
  let attemptsMade = 0;
  let name = '';
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const value = String(fields[i + 1]);
    switch (String(fields[i])) {
      case 'timestamp':
        timestamp = Number(value);
        break;
      case 'ats':
        attemptsStarted = Number(value);
        break;
      case 'atm':
      case 'attemptsMade':
        attemptsMade = Number(value);
        break;
      case 'name':
        name = value;
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
    renewedAt: now,
    notes: { progress: undefined, data: undefined, logs: [], logsDropped: 0 },
    schedulerUpdate: undefined,
  };
}
