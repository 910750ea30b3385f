/**
 * Signs of life of this process in its queues while Redis answers. The fleet's barrier waits for those
 * who gave one lately, the backoff is paced by their number, and plain BullMQ workers leave stalled
 * jobs to us as long as they come.
 *
 * A beat is asked for by the pulse and answers it as well, so that an idle replica pays for one of
 * both. It is also that replica's only write: what only writes meet (memory full, no replicas, a failed
 * snapshot) shows by the next beat.
 */
import type { Clock, Instant } from '../time.ts';
import { commandName } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';
import { HEARTBEAT_KEYS_EACH } from './lua/heartbeat.ts';
import { KEEP_MS } from './retake.ts';

/** Between two beats at most, ms: with the way of a request below the 3 s in which a fault has its name. */
const BEAT_MS = 2400;
/** Who asks for the clock anyhow so long before a beat is due gets the beat instead, ms. */
const AHEAD_MS = 700;
/** A queue had a sign of life so lately that it can do without one in this beat, ms. */
const FRESH_MS = 4000;
/** A member that gave none for so long is not waited for, ms: three of a queue's beats. */
export const ALIVE_MS = 15_000;

export interface HeartbeatDeps {
  clock: Clock;
  processId: string;
  ledgers(): Iterable<QueueLedger>;
  guardMs(ledger: QueueLedger): number;
  /** The present generation while the breaker is closed: no beat goes ahead of a recovery. */
  generation(): Generation | undefined;
  onMembers(count: number): void;
}

/** What one queue's last beat told. */
interface Beaten {
  at: Instant;
  members: number;
}

export class Heartbeat {
  readonly #deps: HeartbeatDeps;
  readonly #beaten = new WeakMap<QueueLedger, Beaten>();
  #beatAt: Instant = Number.NEGATIVE_INFINITY;

  constructor(deps: HeartbeatDeps) {
    this.#deps = deps;
  }

  /** Monotonic instant by which the server is to be asked again, whatever was heard meanwhile. */
  get dueAt(): Instant {
    return this.#deps.generation() ? this.#beatAt + BEAT_MS : Number.POSITIVE_INFINITY;
  }

  /**
   * Asks the server for its wall clock, ms since the epoch: with a beat if one is due.
   * @throws what Redis or the connection says
   */
  async ask(generation: Generation): Promise<number> {
    const { clock } = this.#deps;
    const now = clock.now();
    if (now < this.dueAt - AHEAD_MS) return await generation.serverTime();
    this.#beatAt = now;
    const due = this.#due(now);
    if (due.length === 0) return await generation.serverTime();
    // In a Cluster the keys of two queues lie in different slots.
    const groups = generation.client.isCluster ? due.map((ledger) => [ledger]) : [due];
    const times = await Promise.all(groups.map((group) => this.#beat(generation, group, now)));
    let members = 1;
    for (const ledger of this.#deps.ledgers()) {
      members = Math.max(members, this.#beaten.get(ledger)?.members ?? 0);
    }
    this.#deps.onMembers(members);
    return times[0]!;
  }

  /** Queues without a fresh sign of life; if all have one, the queue whose is the oldest. */
  #due(now: Instant): QueueLedger[] {
    // Of a queue that is set aside the epoch may be gone: that is no news.
    const ledgers = [...this.#deps.ledgers()].filter(
      ({ epoch, aside }) => epoch !== undefined && !aside,
    );
    const beatenAt = (ledger: QueueLedger) =>
      this.#beaten.get(ledger)?.at ?? Number.NEGATIVE_INFINITY;
    const due = ledgers.filter((ledger) => now - beatenAt(ledger) >= FRESH_MS);
    if (due.length > 0 || ledgers.length === 0) return due;
    return [ledgers.reduce((a, b) => (beatenAt(b) < beatenAt(a) ? b : a))];
  }

  async #beat(generation: Generation, ledgers: QueueLedger[], now: Instant): Promise<number> {
    const { processId, guardMs } = this.#deps;
    const keys = ledgers.flatMap((ledger) => [
      ledger.key('members'),
      ledger.epochKey(processId),
      ledger.toKey('stalled-check'),
    ]);
    const reply = (await generation.adapted.runCommand(commandName('heartbeat'), [
      ledgers.length * HEARTBEAT_KEYS_EACH,
      ...keys,
      processId,
      KEEP_MS,
      ALIVE_MS,
      ...ledgers.map(guardMs),
    ])) as (string | number)[];
    const [seconds, micros, ...members] = reply.map(Number);
    for (const [i, ledger] of ledgers.entries()) {
      this.#beaten.set(ledger, { at: now, members: members[i]! });
    }
    return seconds! * 1000 + micros! / 1000;
  }
}
