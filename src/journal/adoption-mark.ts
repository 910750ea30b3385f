/**
 * What an adopter leaves in the folder that it takes over, and renews while it makes progress: a replica
 * that comes back meanwhile waits for the end, and is not told that another process uses its folder. It is
 * there only while the folder's lock is held: who takes the lock next removes it.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Folder } from './folder.ts';

/** A replica's whole journal may have to be copied, ms. */
export const ADOPTION_MS_MAX = 120_000;
/** An adopter that shows no progress for so long hangs, ms: looking through a large damaged journal takes seconds. */
const SILENT_MS_MAX = 30_000;

/** Tells that the adoption goes on. Without the mark all goes on as well: it may not fail for a full disk. */
export function markAdoption({ adopting }: Folder, step: number): void {
  try {
    writeFileSync(adopting, `${process.pid} ${step}\n`, { mode: 0o600 });
  } catch {
    // Whoever waits gives up sooner.
  }
}

export function unmarkAdoption({ adopting }: Folder): void {
  rmSync(adopting, { force: true });
}

/** For how long to wait for a folder's lock: longer while an adopter makes progress. Monotonic, ms. */
export class Patience {
  readonly #folder: Folder;
  readonly #endsAt: number;
  readonly #onAdoption: () => void;
  #giveUpAt: number;
  #seen: string | undefined;

  /** @param onAdoption called once, when it is an adopter that is waited for */
  constructor(folder: Folder, waitMs: number, onAdoption: () => void) {
    const now = performance.now();
    this.#folder = folder;
    this.#giveUpAt = now + waitMs;
    this.#endsAt = now + waitMs + ADOPTION_MS_MAX;
    this.#onAdoption = onAdoption;
  }

  get isForAdoption(): boolean {
    return this.#seen !== undefined;
  }

  /** To be asked after each try that failed. */
  isOver(): boolean {
    const now = performance.now();
    const mark = markOf(this.#folder);
    if (mark !== undefined && mark !== this.#seen) {
      if (!this.isForAdoption) this.#onAdoption();
      this.#seen = mark;
      this.#giveUpAt = Math.max(this.#giveUpAt, now + SILENT_MS_MAX);
    }
    return now >= Math.min(this.#giveUpAt, this.#endsAt);
  }
}

function markOf({ adopting }: Folder): string | undefined {
  try {
    return readFileSync(adopting, 'utf8');
  } catch {
    return undefined;
  }
}
