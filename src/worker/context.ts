/** What a handler is given besides its job; see `HandlerContext` for what each part promises. */
import { UnrecoverableError } from 'bullmq';
import { InvalidInputError } from '../errors.ts';
import type { HandlerContext } from './definition.ts';
import { RetryAfter } from './outcome.ts';
import type { Run, RunDeps } from './run.ts';

/** A year, ms: beyond it a delay is a date in the wrong unit. */
const DELAY_MS_MAX = 366 * 24 * 60 * 60 * 1000;

export function createContext(run: Run, deps: RunDeps): HandlerContext {
  return {
    get signal() {
      return run.signal;
    },
    get log() {
      return run.log;
    },
    get resources() {
      return deps.resources();
    },
    progress: (value) => run.notes.progress(value),
    enqueue: (queue, name, data, options) => deps.client.enqueue(queue, name, data, options),
    retryAfter(delayMs) {
      if (!Number.isFinite(delayMs) || delayMs < 0 || delayMs > DELAY_MS_MAX) {
        throw new InvalidInputError(
          'retryAfter',
          `got ${delayMs}`,
          `Give milliseconds from 0 to ${DELAY_MS_MAX}.`,
        );
      }
      throw new RetryAfter(Math.round(delayMs));
    },
    fail(reason) {
      throw new UnrecoverableError(reason);
    },
  };
}
