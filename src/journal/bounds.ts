/**
 * The journal's bounds: an entry that does not fit is refused before it is written, so that the
 * refusal comes at once and what was accepted stays.
 */
import { JournalFullError } from '../errors.ts';

export interface Bounds {
  bytesMax: number;
  entriesMax: number;
}

export interface Usage {
  bytes: number;
  entries: number;
}

/** The error for an entry of `bytes` that does not fit any more, or undefined if it fits. */
export function overBounds(
  path: string,
  used: Usage,
  bytes: number,
  bounds: Bounds,
): JournalFullError | undefined {
  if (used.entries + 1 > bounds.entriesMax) {
    return new JournalFullError(path, `its limit of ${bounds.entriesMax} entries is reached`);
  }
  if (used.bytes + bytes > bounds.bytesMax) {
    return new JournalFullError(path, `its limit of ${bounds.bytesMax} bytes is reached`);
  }
  return undefined;
}
