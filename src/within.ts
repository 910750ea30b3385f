/**
 * Nothing hangs: an answer that does not come in time becomes a typed error. What was asked may
 * still happen; its late result or error is dropped.
 */
import { RedisUnavailableError } from './errors.ts';

/** `promise`, or after `timeoutMs` the error that is given: RedisUnavailableError where it is an operation's name. */
export async function within<T>(
  promise: Promise<T>,
  timeoutMs: number,
  late: string | (() => Error),
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const lateness = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(errorOf(late)), timeoutMs);
  });
  try {
    return await Promise.race([promise, lateness]);
  } finally {
    clearTimeout(timer);
    // The loser of the race has nobody left who listens.
    promise.catch(() => {});
  }
}

function errorOf(late: string | (() => Error)): Error {
  return typeof late === 'string' ? new RedisUnavailableError(late, 'timeout', undefined) : late();
}
