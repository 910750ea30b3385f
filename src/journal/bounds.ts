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

/** The error for so many entries of together `bytes` that do not fit any more, or undefined if they fit. */
export function overBounds(
  path: string,
  used: Usage,
  added: Usage,
  bounds: Bounds,
): JournalFullError | undefined {
  if (used.entries + added.entries > bounds.entriesMax) {
    return new JournalFullError(path, `its limit of ${bounds.entriesMax} entries is reached`);
  }
  if (used.bytes + added.bytes > bounds.bytesMax) {
    return new JournalFullError(path, `its limit of ${bounds.bytesMax} bytes is reached`);
  }
  return undefined;
}
