/** A terminal, npm and an older Node that started this one all pass Ctrl-C on: that is one signal. */
import { systemClock } from '../time.ts';

/** The same signal within this time is one, ms. */
const SAME_SIGNAL_MS = 1000;

export class SameSignal {
  #last: NodeJS.Signals | undefined;
  #at = Number.NEGATIVE_INFINITY;

  /** Whether it is the one before, passed on; else it is the one before from now on. */
  isAgain(signal: NodeJS.Signals): boolean {
    const now = systemClock.now();
    if (this.#last === signal && now - this.#at < SAME_SIGNAL_MS) return true;
    this.#last = signal;
    this.#at = now;
    return false;
  }
}
