/**
 * Delayed jobs of one queue that wait in the journal for their time, the soonest first. Only where they
 * stand and when they are due is in memory; the jobs themselves stay on disk until then.
 */
import type { Position } from '../journal/entry.ts';
import type { Instant } from '../time.ts';

/** About 4 MB; what comes beyond waits for Redis. */
const WAITING_MAX = 50_000;

interface Waiting {
  position: Position;
  dueAt: Instant;
}

export class IslandLater {
  readonly #waitingMax: number;
  /** Binary heap. */
  #heap: Waiting[] = [];

  constructor(waitingMax = WAITING_MAX) {
    this.#waitingMax = waitingMax;
  }

  /** Monotonic instant at which the first is due; undefined while none waits. */
  get nextDueAt(): Instant | undefined {
    return this.#heap[0]?.dueAt;
  }

  /** @returns false if so many wait that this one is not remembered */
  add(position: Position, dueAt: Instant): boolean {
    if (this.#heap.length >= this.#waitingMax) return false;
    const heap = this.#heap;
    let at = heap.length;
    const added = { position, dueAt };
    heap.push(added);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(added, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = added;
    return true;
  }

  /** Takes those off that are due by `now`, no more than `max`, the soonest first. */
  takeDue(now: Instant, max: number): Waiting[] {
    const due: Waiting[] = [];
    while (due.length < max && this.#heap[0] && this.#heap[0].dueAt <= now) due.push(this.#take());
    return due;
  }

  clear(): void {
    this.#heap = [];
  }

  #take(): Waiting {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: Waiting, b: Waiting): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.position < b.position);
}
