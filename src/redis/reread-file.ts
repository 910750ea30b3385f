/**
 * A small secret in a file that somebody may replace at any time (a password, a certificate): read
 * again at every connect, so that a rotation needs no restart. A file that cannot be read must
 * never break a connect half-way: the last known content is used and the mistake is reported.
 */
import { readFileSync } from 'node:fs';
import { SecretFileError } from '../errors.ts';

/** Reads the file now and at each call; `report` hears of every read that failed. */
export function rereadFile(
  path: string,
  purpose: string,
  report: (error: SecretFileError) => void,
): () => string | undefined {
  let last: string | undefined;
  return () => {
    try {
      last = readFileSync(path, 'utf8');
    } catch (cause) {
      report(new SecretFileError(purpose, path, last === undefined, cause));
    }
    return last;
  };
}
