/**
 * What waits to be committed, in order: groups of entries that are kept together or not at all, and how
 * many of them one transaction takes.
 */
import type { Packed, Position } from './entry.ts';

/** One transaction takes at most this: it bounds the memory of a commit and what it makes wait. */
const COMMIT_BYTES_MAX = 4 * 1024 * 1024;
export const COMMIT_ENTRIES_MAX = 2_000;

/** What is committed together, or not at all. A class for the reason that `Packed` is one. */
export class Group {
  /** No list of one: that would be a literal. */
  readonly packed: Packed | readonly Packed[];
  readonly entries: number;
  readonly bytes: number;
  /** With the first's position; the others follow. */
  readonly resolve: (first: Position) => void;
  readonly reject: (error: Error) => void;

  constructor(
    packed: Packed | readonly Packed[],
    entries: number,
    bytes: number,
    resolve: (first: Position) => void,
    reject: (error: Error) => void,
  ) {
    this.packed = packed;
    this.entries = entries;
    this.bytes = bytes;
    this.resolve = resolve;
    this.reject = reject;
  }
}

export class PendingGroups {
  readonly #entriesMax: number;
  #groups: Group[] = [];
  #entries = 0;

  /** @param entriesMax entries that one transaction takes */
  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  get isEmpty(): boolean {
    return this.#groups.length === 0;
  }

  /** Entries, all groups together. */
  get entries(): number {
    return this.#entries;
  }

  push(group: Group): void {
    this.#groups.push(group);
    this.#entries += group.entries;
  }

  /** As many whole groups as one transaction takes; at least one. */
  takeBatch(): Group[] {
    let bytes = 0;
    let entries = 0;
    let count = 0;
    for (const group of this.#groups) {
      bytes += group.bytes;
      entries += group.entries;
      if (count > 0 && (bytes > COMMIT_BYTES_MAX || entries > this.#entriesMax)) break;
      count++;
    }
    return this.takeAll(count);
  }

  takeAll(count: number = this.#groups.length): Group[] {
    const taken = this.#groups.splice(0, count);
    for (const { entries } of taken) this.#entries -= entries;
    return taken;
  }
}

/** Cut where one transaction takes no more. */
export function partsOf(packed: readonly Packed[], entriesMax: number): Packed[][] {
  const parts: Packed[][] = [];
  let part: Packed[] = [];
  let bytes = 0;
  for (const entry of packed) {
    bytes += entry.bytes;
    if (part.length === entriesMax || (part.length > 0 && bytes > COMMIT_BYTES_MAX)) {
      parts.push(part);
      part = [];
      bytes = entry.bytes;
    }
    part.push(entry);
  }
  if (part.length > 0) parts.push(part);
  return parts;
}

export function bytesOf(packed: readonly Packed[]): number {
  return packed.reduce((sum, { bytes }) => sum + bytes, 0);
}
