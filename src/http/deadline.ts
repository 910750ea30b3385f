/**
 * Nothing hangs: an answer that does not come in time becomes a typed error. What was asked may
 * still happen; its late result or error is dropped.
 */
import { RedisUnavailableError } from '../errors.ts';

/** `promise`, or RedisUnavailableError after `timeoutMs`. */
export async function within<T>(
  promise: Promise<T>,
  timeoutMs: number,
  operation: string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new RedisUnavailableError(operation, 'timeout', undefined)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    // The loser of the race has nobody left who listens.
    promise.catch(() => {});
  }
}
