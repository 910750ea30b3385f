/**
 * Imports a file of the user. One whose top-level `await` never ends would let the process end without a
 * word, since nothing is left to do; here it is an error that names the file.
 */
import { pathToFileURL } from 'node:url';
import { HandlerFileError } from '../errors.ts';
import { loadFailure } from './load-failure.ts';

/** A file that has not loaded after this time waits for something that does not come, ms. */
const LOAD_MS = 30_000;

export interface ImportOptions {
  /** Node keeps modules for ever: another number reads changed files anew (not what they import). */
  revision?: number;
  /** Default 30 s; ms. */
  withinMs?: number;
}

/** What the file exports. @throws HandlerFileError */
export async function importFile(
  file: string,
  { revision, withinMs = LOAD_MS }: ImportOptions = {},
): Promise<Record<string, unknown>> {
  const url = pathToFileURL(file);
  if (revision !== undefined) url.searchParams.set('revision', `${revision}`);
  const { promise: overdue, reject } = Promise.withResolvers<never>();
  // It also holds the event loop, which may have nothing else to do.
  const timer = setTimeout(() => {
    reject(
      new HandlerFileError(
        file,
        `did not finish loading within ${withinMs / 1000} s.`,
        'It awaits something at its top level that does not come: move that into `setup()`.',
      ),
    );
  }, withinMs);
  try {
    return await Promise.race([import(/* @vite-ignore */ url.href), overdue]);
  } catch (error) {
    throw error instanceof HandlerFileError ? error : await loadFailure(file, error);
  } finally {
    clearTimeout(timer);
  }
}
