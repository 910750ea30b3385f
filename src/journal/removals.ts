/**
 * Entries on their way out of the journal. For every reader they are gone from the moment in which their
 * removal is asked for: what the disk has yet to do, or did not do, must not come back meanwhile. What it
 * did not do goes with the next removal.
 */
import type { Position } from './entry.ts';
import type { ThreadLink } from './thread-link.ts';

export class Removals {
  readonly #link: Pick<ThreadLink, 'ask'>;
  /** Bounded by the journal's own bounds. */
  readonly #leaving = new Set<Position>();
  /** Those of them whose removal failed. */
  readonly #undone = new Set<Position>();

  constructor(link: Pick<ThreadLink, 'ask'>) {
    this.#link = link;
  }

  /** Whether the entry is gone, although the disk may still have it. */
  has(position: Position): boolean {
    return this.#leaving.has(position);
  }

  /** @throws JournalError when the disk does not do it; a restart sees them again */
  async remove(positions: readonly Position[]): Promise<void> {
    for (const position of positions) this.#leaving.add(position);
    const asked = this.#undone.size === 0 ? positions : [...this.#undone, ...positions];
    if (asked.length === 0) return;
    this.#undone.clear();
    try {
      await this.#link.ask('remove', [asked], () => this.#done(asked));
      this.#done(asked);
    } catch (error) {
      for (const position of asked) this.#undone.add(position);
      throw error;
    }
  }

  #done(positions: readonly Position[]): void {
    for (const position of positions) {
      this.#leaving.delete(position);
      this.#undone.delete(position);
    }
  }
}
