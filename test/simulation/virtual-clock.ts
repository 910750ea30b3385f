/**
 * A clock whose time passes only when it is told to, and a seeded random source: with both, a run of
 * the pure rooms is the same each time, and a seed replays a failure.
 */
import { setImmediate as nextPoll } from 'node:timers/promises';
import type { Clock, Instant, Random } from '../../src/time.ts';

interface Timer {
  at: Instant;
  /** Order of making, for timers of the same instant. */
  order: number;
  fire: (() => void) | undefined;
}

/** Wall-clock time at which a virtual clock begins, ms since the epoch. */
const EPOCH = Date.UTC(2026, 0, 1);

export class VirtualClock implements Clock {
  #now: Instant = 0;
  #orders = 0;
  /** Binary heap by (at, order). */
  readonly #heap: Timer[] = [];
  #pending = 0;

  now(): Instant {
    return this.#now;
  }

  wall(): Instant {
    return EPOCH + this.#now;
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#pending;
  }

  after(delayMs: number, fire: () => void): () => void {
    this.#orders += 1;
    const at = this.#now + Math.max(0, delayMs);
    const timer: Timer = { at, order: this.#orders, fire };
    this.#push(timer);
    this.#pending += 1;
    return () => {
      if (timer.fire === undefined) return;
      timer.fire = undefined;
      this.#pending -= 1;
    };
  }

  /** A promise that resolves `ms` later. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Lets `ms` pass: fires what falls due, in order, and lets promises settle between instants. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let next = this.#heap[0]; next && next.at <= end; next = this.#heap[0]) {
      this.#now = next.at;
      while (this.#heap[0] && this.#heap[0].at <= this.#now) {
        const timer = this.#pop();
        const { fire } = timer;
        if (fire === undefined) continue;
        timer.fire = undefined;
        this.#pending -= 1;
        fire();
      }
      await settle();
    }
    this.#now = end;
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(heap[parent]!, timer)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): Timer {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (isBefore(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Promises that are settled already have run their reactions, also behind two turns of the loop (the
 * pulse reads what has arrived twice before it counts a miss). */
async function settle(): Promise<void> {
  await nextPoll();
  await nextPoll();
  await nextPoll();
}

/** mulberry32: small, even, the same on each machine. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
