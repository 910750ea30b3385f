/**
 * When an outage may speak: one line at its start, a summary after 30 s and then each minute, one line
 * at its end. Flapping is one story, not a hundred: outages that follow each other closely share one
 * allowance. Pure.
 */
import type { Instant } from '../time.ts';

/** The first summary comes after this time, ms. */
export const FIRST_SUMMARY_MS = 30_000;
/** And then one in this time, ms. */
export const SUMMARY_EVERY_MS = 60_000;
/** Lines about outages per minute at most: the promise is 10, the event-loop line may come besides. */
export const LINES_PER_MINUTE_MAX = 8;

/** When the summary that follows one at `sinceStartMs` is due, ms after the start. */
export function nextSummaryMs(sinceStartMs: number): number {
  if (sinceStartMs < FIRST_SUMMARY_MS) return FIRST_SUMMARY_MS;
  const passed = Math.floor((sinceStartMs - FIRST_SUMMARY_MS) / SUMMARY_EVERY_MS) + 1;
  return FIRST_SUMMARY_MS + passed * SUMMARY_EVERY_MS;
}

/** Counts lines in a sliding minute; says how many were left unsaid when it speaks again. */
export class LineAllowance {
  #spoken: Instant[] = [];
  #unsaid = 0;

  /** Whether a line may be written at `now`; if not, it is counted. */
  take(now: Instant): boolean {
    this.#spoken = this.#spoken.filter((at) => now - at < 60_000);
    if (this.#spoken.length >= LINES_PER_MINUTE_MAX) {
      this.#unsaid += 1;
      return false;
    }
    this.#spoken.push(now);
    return true;
  }

  /** When a line may be written again, after one was refused. */
  freeAt(): Instant {
    return (this.#spoken[0] ?? Number.NEGATIVE_INFINITY) + 60_000;
  }

  /** Lines that were not written since this was last asked. */
  unsaid(): number {
    const count = this.#unsaid;
    this.#unsaid = 0;
    return count;
  }
}
