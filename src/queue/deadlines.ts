/**
 * Many deadlines under one timer. Nearly all are kept, and a timer for each would cost a busy producer more
 * than what it waits for. Whoever is late is told by the deadline, up to `EARLY_MS` before it.
 */
import type { Clock, Instant } from '../time.ts';

/** Deadlines that are this near have passed, ms: all that wait are looked through no more often. */
const EARLY_MS = 5;

/** Something that is to be over by an instant. Belongs to one `Deadlines`. */
export class Deadline {
  readonly by: Instant;
  /** It was not over in time. */
  readonly passed: () => void;
  /** Its place among those that are open; -1: it is not. Of `Deadlines` alone. */
  place = -1;

  constructor(by: Instant, passed: () => void) {
    this.by = by;
    this.passed = passed;
  }
}

export class Deadlines {
  readonly #clock: Clock;
  /** In no order. A list and not a Set, whose table is made anew for every few that come and go. */
  readonly #open: Deadline[] = [];
  #lookAt: Instant = Number.POSITIVE_INFINITY;
  #cancelLook: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(deadline: Deadline): void {
    deadline.place = this.#open.length;
    this.#open.push(deadline);
    if (deadline.by < this.#lookAt) this.#look(deadline.by);
  }

  /** It is over. @returns false if it had passed */
  remove(deadline: Deadline): boolean {
    const { place } = deadline;
    if (place < 0) return false;
    const last = this.#open.pop()!;
    if (last !== deadline) {
      this.#open[place] = last;
      last.place = place;
    }
    deadline.place = -1;
    if (this.#open.length === 0) this.#rest();
    return true;
  }

  #look(at: Instant): void {
    this.#cancelLook?.();
    this.#lookAt = at;
    this.#cancelLook = this.#clock.after(at - this.#clock.now(), () => {
      this.#rest();
      const passed = this.#clock.now() + EARLY_MS;
      let next = Number.POSITIVE_INFINITY;
      for (const deadline of [...this.#open]) {
        if (deadline.by > passed) next = Math.min(next, deadline.by);
        else if (this.remove(deadline)) deadline.passed();
      }
      if (next < this.#lookAt) this.#look(next);
    });
  }

  #rest(): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    this.#lookAt = Number.POSITIVE_INFINITY;
  }
}
