/**
 * One blocking read for all queues of this process that have long been idle: however many they are, they
 * cost Redis one command in two seconds and one connection.
 *
 * It goes in rounds. Members gather, one `BZPOPMIN` waits for the markers of all of them, and when it
 * ends, by a marker or by its time, all are free again. A queue that comes while a round is under way
 * reads for itself until the round is over. What it must never do: wait for a queue that has no taker
 * any more, for it would swallow the marker that another replica is to have. In a Cluster the markers lie
 * in different slots: there every queue reads for itself.
 */
import type { Clock, Instant } from '../time.ts';
import type { Generation } from './generation.ts';

/** A marker of BullMQ: which job, and when it is due. */
export interface Marker {
  member: string;
  score: number;
}

/**
 * The end of a wait: a marker, or null when its time was over. `cut`: the read was given up, perhaps with
 * a marker in its answer, so whoever waited must ask for work at once.
 */
export type Found = Marker | null | 'cut';

/** Reads markers of any of the keys; null when the time is over or the signal aborts. */
export type ReadMarkers = (
  generation: Generation,
  owner: object,
  keys: readonly string[],
  seconds: number,
  signal: AbortSignal,
) => Promise<[key: string, marker: Marker] | null>;

export interface IdleReadOptions {
  clock: Clock;
  read: ReadMarkers;
  /** A queue without a job for so long joins, ms. */
  quietAfterMs?: number | undefined;
}

/** Its connection is closed when a queue joins, and made again at its next job: not too often. */
const QUIET_AFTER_MS = 30_000;
/** As long as any other blocking read, s: a dead socket shows within 3 s. */
const ROUND_SECONDS = 2;
/** A round waits for members that are on their way (one asks for work each few seconds), ms. */
const GATHER_MS = 10;
/** Who joins the next round is there so long before this one ends, ms. */
const EARLY_MS = 20;

interface Member {
  key: string;
  done(found: Found): void;
  failed(error: unknown): void;
}

interface Round {
  generation: Generation;
  members: Set<Member>;
  /** Undefined while it gathers. */
  endsAt: Instant | undefined;
  ending: AbortController;
  ended: PromiseWithResolvers<void>;
}

export class IdleRead {
  readonly #options: IdleReadOptions;
  /** Takers of queues that are quiet, in a round or between two. */
  readonly #quiet = new Set<object>();
  #round: Round | undefined;
  #cancelGathering: (() => void) | undefined;

  constructor(options: IdleReadOptions) {
    this.#options = options;
  }

  /** A queue's taker tells since when it had no job. It belongs here once that is long enough. */
  tell(taker: object, idleSince: Instant): void {
    const { clock, quietAfterMs = QUIET_AFTER_MS } = this.#options;
    if (clock.now() - idleSince >= quietAfterMs) this.#quiet.add(taker);
    else this.leave(taker);
  }

  /** It had a job, or takes none any more. */
  leave(taker: object): void {
    this.#quiet.delete(taker);
  }

  /** Whether there is something to share for this taker. */
  concerns(taker: object, generation: Generation): boolean {
    return !generation.client.isCluster && this.#quiet.size > 1 && this.#quiet.has(taker);
  }

  /** Milliseconds for which a taker that comes now reads for itself; 0: it may wait here. */
  busyForMs(generation: Generation): number {
    const round = this.#round;
    if (!round || round.generation !== generation || round.endsAt === undefined) return 0;
    return Math.max(0, round.endsAt - EARLY_MS - this.#options.clock.now());
  }

  /**
   * Waits in the next round for the marker of `key`, or until the round is over.
   * @throws what the connection says, to one member of the round
   */
  async wait(generation: Generation, key: string, signal: AbortSignal): Promise<Found> {
    const before = this.#round;
    if (before?.generation === generation && before.endsAt !== undefined) {
      await before.ended.promise;
    }
    if (signal.aborted || !generation.alive) return null;
    const round = this.#gathering(generation);
    const { promise, resolve: done, reject: failed } = Promise.withResolvers<Found>();
    const member: Member = { key, done, failed };
    const leave = () => this.#leftBy(member, round);
    signal.addEventListener('abort', leave, { once: true });
    round.members.add(member);
    if (round.members.size >= this.#quiet.size) this.#begin(round);
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  #gathering(generation: Generation): Round {
    const present = this.#round;
    if (present?.generation === generation && present.endsAt === undefined) return present;
    // Of a generation that has ended.
    if (present && present.endsAt === undefined) this.#end(present);
    const round: Round = {
      generation,
      members: new Set(),
      endsAt: undefined,
      ending: new AbortController(),
      ended: Promise.withResolvers(),
    };
    this.#round = round;
    this.#cancelGathering?.();
    this.#cancelGathering = this.#options.clock.after(GATHER_MS, () => this.#begin(round));
    return round;
  }

  /** A taker that ends must be waited for no longer; the others look for themselves and gather anew. */
  #leftBy(member: Member, round: Round): void {
    round.members.delete(member);
    member.done(null);
    round.ending.abort();
  }

  #begin(round: Round): void {
    if (this.#round !== round || round.endsAt !== undefined) return;
    this.#cancelGathering?.();
    round.endsAt = this.#options.clock.now() + ROUND_SECONDS * 1000;
    if (round.members.size > 0 && !round.ending.signal.aborted) void this.#play(round);
    else this.#end(round);
  }

  async #play(round: Round): Promise<void> {
    const { generation, members, ending } = round;
    const keys = [...new Set([...members].map(({ key }) => key))];
    try {
      const found = await this.#options.read(generation, this, keys, ROUND_SECONDS, ending.signal);
      if (found) {
        const [key, marker] = found;
        const owner = [...members].find((member) => member.key === key);
        if (owner) {
          members.delete(owner);
          owner.done(marker);
        }
      }
    } catch (error) {
      const [first] = members;
      if (first) members.delete(first);
      first?.failed(error);
    }
    this.#end(round);
  }

  #end(round: Round): void {
    if (this.#round === round) this.#round = undefined;
    for (const { done } of round.members) done(round.ending.signal.aborted ? 'cut' : null);
    round.members.clear();
    round.ended.resolve();
  }
}
