/**
 * How a run ended, and what that means. One union; the only places that read it are the worker, which
 * tells BullMQ, and the log line. Pure.
 */
import { DelayedError, UnrecoverableError } from 'bullmq';
import {
  HandlerTimeoutError,
  InvalidJobDataError,
  LockExpiringError,
  LockLostError,
  ResultNotJsonError,
  ResultTooLargeError,
  ShutdownError,
  UnknownJobNameError,
} from '../errors.ts';
import { graceOf } from './grace.ts';

export type Outcome =
  | { type: 'completed'; result: unknown }
  /** The attempt failed; `isFinal`: there will be no other, whatever the job's attempts say. */
  | { type: 'failed'; error: Error; isFinal: boolean }
  /** The handler asked for later, without burning an attempt. */
  | { type: 'delayed'; delayMs: number }
  /** Not understood, perhaps not yet: see `grace.ts`. */
  | { type: 'put-off'; delayMs: number; failedReason: string; error: Error }
  /** The service stops, or its lock cannot be kept: the job is handed back, without burning an attempt. */
  | { type: 'returned'; error: Error }
  /** Another worker has the job: nothing is recorded. */
  | { type: 'dropped'; error: Error }
  /** The handler moved the job itself, in BullMQ's way, and threw the error that says so. */
  | { type: 'moved'; error: Error };

/** Thrown by `ctx.retryAfter`; BullMQ's own name, so that it means the same outside of a run. */
export class RetryAfter extends DelayedError {
  readonly delayMs: number;
  constructor(delayMs: number) {
    super(`the handler asked to be run again in ${delayMs} ms`);
    this.name = 'DelayedError';
    this.delayMs = delayMs;
  }
}

/** Errors by which a handler tells BullMQ that it has moved the job (bullmq/classes/errors). */
const MOVES: ReadonlySet<string> = new Set([
  'DelayedError',
  'WaitingError',
  'WaitingChildrenError',
  'RateLimitError',
]);

/** Longer error messages are cut: they are stored with the job and logged. */
const MESSAGE_CHARS_MAX = 8192;

export interface Ending {
  ended: { ok: true; result: unknown } | { ok: false; error: unknown };
  /** Why the run's signal was aborted; undefined when it was not. */
  abortReason: unknown;
  attempt: number;
  attemptsMax: number;
  /** The job's `failedReason` as it was taken. */
  failedReason: string | undefined;
  /** ms since the epoch */
  now: number;
  unknownJobGraceMs: number;
}

export function outcomeOf(ending: Ending): Outcome {
  const { ended, abortReason } = ending;
  if (abortReason instanceof LockLostError) return { type: 'dropped', error: abortReason };
  if (!ended.ok && isMove(ended.error)) return moveOf(ended.error as Error);
  if (abortReason instanceof HandlerTimeoutError) return failureOf(abortReason, ending);
  if (ended.ok) return { type: 'completed', result: ended.result };
  const error = toError(ended.error);
  // What the handler says of the job itself still holds; all else is the work of the signal.
  const isHandedBack =
    abortReason instanceof ShutdownError || abortReason instanceof LockExpiringError;
  if (isHandedBack && !isUnrecoverable(error)) return { type: 'returned', error: abortReason };
  if (error instanceof InvalidJobDataError || error instanceof UnknownJobNameError) {
    return misfitOf(error, ending);
  }
  return failureOf(error, ending);
}

function moveOf(error: Error): Outcome {
  return error instanceof RetryAfter
    ? { type: 'delayed', delayMs: error.delayMs }
    : { type: 'moved', error };
}

function misfitOf(error: Error, ending: Ending): Outcome {
  const { failedReason, now, unknownJobGraceMs } = ending;
  const grace = graceOf(failedReason, error.message, now, unknownJobGraceMs);
  return grace.type === 'put-off' ? { ...grace, error } : { type: 'failed', error, isFinal: true };
}

function failureOf(error: Error, { attempt, attemptsMax }: Ending): Outcome {
  return { type: 'failed', error, isFinal: attempt >= attemptsMax || isUnrecoverable(error) };
}

function isMove(error: unknown): boolean {
  return MOVES.has((error as Error | undefined)?.name ?? '') || error instanceof DelayedError;
}

/** No other attempt can end differently. */
export function isUnrecoverable(error: Error): boolean {
  return (
    error.name === 'UnrecoverableError' ||
    error instanceof UnrecoverableError ||
    error instanceof ResultTooLargeError ||
    error instanceof ResultNotJsonError
  );
}

/** Handlers may throw anything; BullMQ needs an Error with a message. */
function toError(thrown: unknown): Error {
  const isError =
    typeof thrown === 'object' &&
    thrown !== null &&
    typeof (thrown as Error).message === 'string' &&
    typeof (thrown as Error).name === 'string';
  const error = isError ? (thrown as Error) : new Error(`the handler threw ${describe(thrown)}`);
  if (error.message.length <= MESSAGE_CHARS_MAX) return error;
  const cut = new Error(`${error.message.slice(0, MESSAGE_CHARS_MAX)}…`, { cause: error });
  cut.name = error.name;
  return cut;
}

function describe(thrown: unknown): string {
  if (typeof thrown === 'string') return JSON.stringify(thrown.slice(0, MESSAGE_CHARS_MAX));
  return thrown === null || typeof thrown !== 'object' ? String(thrown) : 'an object';
}

/** The same failure as BullMQ's error for "no more attempts". */
export function unrecoverable(error: Error): Error {
  if (error.name === 'UnrecoverableError') return error;
  const fatal = new UnrecoverableError(error.message);
  if (error.stack !== undefined) fatal.stack = error.stack;
  fatal.cause = error;
  return fatal;
}

/** What a caller switches on: our code, Node's or the class. */
export function errorCodeOf(error: Error): string {
  const source =
    error instanceof UnrecoverableError && error.cause instanceof Error ? error.cause : error;
  const { code } = source as { code?: unknown };
  return typeof code === 'string' && code !== '' ? code : source.name;
}
