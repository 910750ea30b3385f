/** A secret that somebody may rotate while the worker runs. */
import { readFileSync } from 'node:fs';

/**
 * The secret as its file says now; while somebody replaces the file, the one that was known. Without a
 * file, `known`.
 */
export function currentSecret(
  known: string | undefined,
  file: string | undefined,
): () => string | undefined {
  if (file === undefined) return () => known;
  let last = known;
  return () => {
    try {
      last = readFileSync(file, 'utf8').trim() || last;
    } catch {
      // Not there or not readable just now.
    }
    return last;
  };
}
