/**
 * How a Worker gets work through an outage: takes never wait, waiting happens in the blocking read,
 * and a read on a dead socket ends within three seconds.
 */
import { unpack } from 'msgpackr';
import type { Instant } from '../time.ts';
import { keyCount } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { Found, Marker } from './idle-read.ts';
import { type HeldJob, heldFromReply, type QueueLedger } from './ledger.ts';
import type { Sender } from './sender.ts';
import { onOwnClock } from './server-clock.ts';
import type { TargetCore } from './target-core.ts';

/** Blocking reads are cut into slices of this length, so that a dead socket shows within 3 s. */
const BLOCK_SLICE_SECONDS = 2;
/** BullMQ's `drainDelay`: how long it blocks when it knows of no job that is due, seconds. */
const IDLE_BLOCK_SECONDS = 5;
const IDLE_SLICES = 3;
/** The shortest block that Redis 6 and later take for a time and not for "for ever", seconds. */
export const BLOCK_SECONDS_MIN = 0.002;

/** A Worker that was told of a rate limit asks again after this time at the latest (BullMQ's default), ms. */
const RATE_LIMIT_MS_MAX = 30_000;

/** Runs a blocking command with an end of its own: its reply, or that it is overdue or not wanted. */
export async function blockingReply<T>(
  core: Pick<TargetCore, 'clock' | 'patienceMs'>,
  reply: Promise<T>,
  blockMs: number,
  signal: AbortSignal,
): Promise<T | 'overdue' | 'aborted'> {
  reply.catch(() => undefined);
  if (signal.aborted) return 'aborted';
  let cancel: (() => void) | undefined;
  let onAbort: (() => void) | undefined;
  try {
    return await Promise.race([
      reply,
      new Promise<'overdue' | 'aborted'>((resolve) => {
        // After a sleep of ours timers come before sockets: what has arrived is read first.
        cancel = core.clock.after(blockMs + core.patienceMs(), () => {
          setImmediate(() => setImmediate(() => resolve('overdue')));
        });
        onAbort = () => resolve('aborted');
        signal.addEventListener('abort', onAbort, { once: true });
      }),
    ]);
  } finally {
    cancel?.();
    if (onAbort) signal.removeEventListener('abort', onAbort);
  }
}

/** What an overdue blocking read means: its socket is dead. */
export function overdueError(): Error {
  return Object.assign(new Error('no answer to a blocking read'), { code: 'EBLOCKED' });
}

/** The job of an outcome that Redis does not have yet and that ends the job. */
function finished(ledger: QueueLedger, id: string): HeldJob | undefined {
  const outcome = ledger.unsettled.get(id);
  return outcome?.command === 'moveToFinished' ? outcome.job : undefined;
}

/** Whether a job that was taken is one whose run has not ended: only a stalled check gave it back. */
function isSameRun(before: HeldJob, taken: HeldJob): boolean {
  return (
    !before.isLost &&
    before.timestamp === taken.timestamp &&
    before.attemptsMade === taken.attemptsMade &&
    before.stalls !== undefined &&
    taken.stalls! > before.stalls
  );
}

/**
 * Whether BullMQ dropped the job before it ran: it cannot go on with the job's schedule, whose pattern may be
 * another producer's own. Of other jobs it drops none, and none while it makes the next run.
 */
function wasDropped({ isScheduled, isStarted }: HeldJob, { starting }: QueueLedger): boolean {
  return isScheduled === true && !isStarted && starting === 0;
}

/** For how long the Worker will not ask again: behind the job and its id stands the queue's rate limit, ms. */
function rateLimitMs(reply: unknown): number {
  const limitMs = Array.isArray(reply) ? Number(reply[2]) : 0;
  return limitMs > 0 ? Math.min(limitMs, RATE_LIMIT_MS_MAX) : 0;
}

export class Taker {
  readonly #core: TargetCore;
  readonly #ledger: QueueLedger;
  readonly #sender: Sender;
  readonly #markerKey: string;
  /** Owns this Worker's blocking connection. */
  readonly #slot = {};
  /** Monotonic instant of the last job, marker or outage. */
  #idleSince: Instant;
  #fetching = new AbortController();
  #hasLeft = false;

  constructor(core: TargetCore, ledger: QueueLedger, sender: Sender, markerKey: string) {
    this.#core = core;
    this.#ledger = ledger;
    this.#sender = sender;
    this.#markerKey = markerKey;
    this.#idleSince = core.clock.now();
  }

  /** The Worker is closed: jobs that it has not waited for are left. */
  leave(): void {
    this.interrupt();
    this.#hasLeft = true;
    this.#ledger.leave(this);
  }

  /** Ends waiting: the Worker pauses or closes. */
  interrupt(): void {
    this.#core.idleRead.leave(this.#slot);
    this.#fetching.abort();
  }

  resume(): void {
    if (this.#fetching.signal.aborted) this.#fetching = new AbortController();
  }

  /**
   * One request for work. Never waits: BullMQ starts the jobs that it has fetched only after its last
   * fetch was answered. While nobody may take, the answer is "no job"; then it waits in `waitForJob`.
   */
  async take(script: string, args: readonly unknown[]): Promise<unknown> {
    const ledger = this.#ledger;
    const generation = this.#core.generation();
    if (generation && !this.#core.mayTake(ledger)) return undefined;
    const packed = args[keyCount(script) + 2] as Buffer;
    const { token, name } = unpack(packed) as { token: string; name?: string };
    if (!generation) return await this.#core.takeFromJournal(ledger, token, name);
    ledger.doubt(token);
    const outcome = await this.#sender.attempt(generation, () =>
      this.#sender.run(script, args, generation),
    );
    if (!outcome) return undefined;
    ledger.doubtful.delete(token);
    return this.hold(outcome.reply, token, undefined);
  }

  /**
   * A script's reply that may have brought a job: it is in flight here from now on. A job whose run
   * goes on here is no new one: it was given up for stalled while this process stood still. Its run
   * keeps it, and the answer is `none`.
   */
  hold(reply: unknown, token: string, none: unknown): unknown {
    if (this.#core.generation()?.isSkewed) onOwnClock(reply, this.#core.clock);
    // It was under way when the Worker was closed: nobody will run what it brought, and held it would be taken
    // for a run when it is found stalled.
    if (this.#hasLeft) return reply;
    const ledger = this.#ledger;
    ledger.lastTakeAnswered = this.#core.clock.now() + rateLimitMs(reply);
    const job = heldFromReply(reply, token, ledger.lockMs, this.#core.clock.now(), this);
    if (!job) return reply;
    this.#isBusy();
    const before = ledger.held.get(job.id) ?? finished(ledger, job.id);
    if (before && !wasDropped(before, ledger)) {
      if (isSameRun(before, job)) return this.#keep(before, job).then(() => none);
      if (ledger.held.has(job.id)) job.earlier = before;
    }
    ledger.held.set(job.id, job);
    this.#core.tookJob();
    return reply;
  }

  /** Gives the job that we took from ourselves back to the run that has it. */
  async #keep(before: HeldJob, taken: HeldJob): Promise<void> {
    before.attemptsStarted = taken.attemptsStarted;
    before.alias = taken.token;
    const verdict = await this.#core.verdictOn(this.#ledger, before);
    if (verdict === 'foreign' || verdict === 'replaced') {
      this.#core.lockLost(this.#ledger, before, verdict);
    }
  }

  #isBusy(): void {
    this.#idleSince = this.#core.clock.now();
    this.#core.idleRead.leave(this.#slot);
  }

  async waitForJob(blockSeconds: number): Promise<Marker | null> {
    const { clock, idleRead } = this.#core;
    // Whole slices where nothing is due: a read less, and no job waits for it, since a marker ends it.
    const isIdle = blockSeconds === IDLE_BLOCK_SECONDS;
    const until = clock.now() + (isIdle ? IDLE_SLICES * BLOCK_SLICE_SECONDS : blockSeconds) * 1000;
    const { signal } = this.#fetching;
    for (;;) {
      const generation = this.#core.generation();
      if (!generation || !this.#core.mayTake(this.#ledger)) {
        // Afterwards jobs are fetched at once, not at the next marker: a dead read may have
        // swallowed it.
        this.#isBusy();
        await this.#untilAdmitted(signal);
        return null;
      }
      const restMs = until - clock.now();
      if (restMs <= 0 || signal.aborted) return null;
      if (isIdle) idleRead.tell(this.#slot, this.#idleSince);
      else idleRead.leave(this.#slot);
      const outcome = await this.#sender.attempt(generation, () =>
        this.#marker(generation, restMs, signal),
      );
      if (!outcome?.reply) continue;
      if (outcome.reply === 'cut') return null;
      this.#isBusy();
      return outcome.reply;
    }
  }

  /** Also ends when a job may run from the journal. */
  async #untilAdmitted(signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const end = AbortSignal.any([signal, over.signal]);
    const work = this.#core.workInJournal(this.#ledger, end);
    if (!work) {
      await this.#core.admittedToTake(this.#ledger, signal);
      return;
    }
    try {
      await Promise.race([this.#core.admittedToTake(this.#ledger, end), work]);
    } finally {
      over.abort();
    }
  }

  /** Reads on a connection of its own, or with the other quiet queues of this process. */
  async #marker(generation: Generation, restMs: number, signal: AbortSignal): Promise<Found> {
    const { idleRead } = this.#core;
    const isShared = idleRead.concerns(this.#slot, generation);
    const busyForMs = isShared ? idleRead.busyForMs(generation) : restMs;
    if (isShared && busyForMs === 0) {
      // Nothing would keep it alive, and a server may end a connection that asks nothing.
      this.#core.dropBlockingClient(generation, this.#slot);
      return await idleRead.wait(generation, this.#markerKey, signal);
    }
    const seconds = Math.min(restMs / 1000, busyForMs / 1000, BLOCK_SLICE_SECONDS);
    const found = await readMarkers(
      this.#core,
      generation,
      this.#slot,
      [this.#markerKey],
      Math.max(seconds, BLOCK_SECONDS_MIN),
      signal,
    );
    return found?.[1] ?? null;
  }
}

/**
 * One blocking read for markers, on the blocking connection of `owner`; see `ReadMarkers`.
 * @throws what the connection says, or that the answer is overdue
 */
export async function readMarkers(
  core: Pick<TargetCore, 'clock' | 'patienceMs' | 'blockingClient' | 'dropBlockingClient'>,
  generation: Generation,
  owner: object,
  keys: readonly string[],
  seconds: number,
  signal: AbortSignal,
): Promise<[key: string, marker: Marker] | null> {
  const client = await core.blockingClient(generation, owner);
  const read = client.bzpopmin(...keys, seconds) as Promise<[string, string, string] | null>;
  const result = await blockingReply(core, read, seconds * 1000, signal);
  if (result === 'overdue' || result === 'aborted') {
    core.dropBlockingClient(generation, owner);
    if (result === 'aborted') return null;
    throw overdueError();
  }
  if (!result) return null;
  const [key, member, score] = result.map(String) as [string, string, string];
  return [key, { member, score: Number.parseInt(score, 10) }];
}
