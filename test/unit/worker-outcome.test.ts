/** How the end of a handler becomes an outcome; how long a misfit is put off. */
import { RateLimitError, UnrecoverableError, WaitingChildrenError } from 'bullmq';
import { describe, expect, it } from 'vitest';
import {
  HandlerTimeoutError,
  LockExpiringError,
  LockLostError,
  ResultTooLargeError,
  ShutdownError,
  UnknownJobNameError,
} from '../../src/errors.ts';
import { graceOf } from '../../src/worker/grace.ts';
import {
  type Ending,
  errorCodeOf,
  outcomeOf,
  RetryAfter,
  unrecoverable,
} from '../../src/worker/outcome.ts';

const now = Date.parse('2026-11-23T12:00:00.000Z');
const lost = new LockLostError('q', '1');
const stop = new ShutdownError(1000);
const timeout = new HandlerTimeoutError('q', 10);

function of(thrown: unknown, more: Partial<Ending> = {}) {
  return outcomeOf({
    ended: { ok: false, error: thrown },
    abortReason: undefined,
    attempt: 1,
    attemptsMax: 3,
    failedReason: undefined,
    now,
    unknownJobGraceMs: 60_000,
    ...more,
  });
}
const completed: Partial<Ending> = { ended: { ok: true, result: 7 } };

describe('an outcome', () => {
  it('is completed with the result, also when a stop came in between', () => {
    expect(of(null, completed)).toEqual({ type: 'completed', result: 7 });
    expect(of(null, { ...completed, abortReason: stop })).toMatchObject({ type: 'completed' });
  });

  it('is failed after a timeout, whatever the handler returns afterwards', () => {
    expect(of(null, { ...completed, abortReason: timeout })).toEqual({
      type: 'failed',
      error: timeout,
      isFinal: false,
    });
  });

  it('is dropped once the lock is lost, whatever else happened', () => {
    for (const ending of [completed, {}]) {
      expect(of(new UnrecoverableError('x'), { ...ending, abortReason: lost }).type).toBe(
        'dropped',
      );
    }
  });

  it('is returned when the handler gave in to a stop or to a lock that expires', () => {
    const gaveIn = new Error('aborted');
    expect(of(gaveIn, { abortReason: stop }).type).toBe('returned');
    expect(of(gaveIn, { abortReason: new LockExpiringError('q', '1') }).type).toBe('returned');
    expect(of(new UnrecoverableError('closed'), { abortReason: stop }).type).toBe('failed');
  });

  it('is final with the last attempt, and where no other can end differently', () => {
    expect(of(new Error('x'))).toMatchObject({ type: 'failed', isFinal: false });
    expect(of(new Error('x'), { attempt: 3 })).toMatchObject({ isFinal: true });
    expect(of(new UnrecoverableError('x'))).toMatchObject({ isFinal: true });
    expect(of(new ResultTooLargeError('q', 2, 1))).toMatchObject({ isFinal: true });
  });

  it('is what the handler asked BullMQ for', () => {
    expect(of(new RetryAfter(500))).toEqual({ type: 'delayed', delayMs: 500 });
    for (const error of [new WaitingChildrenError(), new RateLimitError()]) {
      expect(of(error)).toEqual({ type: 'moved', error });
    }
  });

  it('has an Error for everything that can be thrown, with a bounded message', () => {
    for (const thrown of [
      undefined,
      null,
      0,
      'text',
      {},
      Symbol('s'),
      new Error('y'.repeat(1e5)),
    ]) {
      const outcome = of(thrown);
      if (outcome.type !== 'failed') throw new Error(outcome.type);
      expect(outcome.error).toBeInstanceOf(Error);
      expect(outcome.error.message.length).toBeLessThan(10_000);
    }
  });

  it('keeps message, stack and code when it becomes BullMQ’s unrecoverable error', () => {
    const error = new ResultTooLargeError('q', 2, 1);
    const fatal = unrecoverable(error);
    expect(fatal).toBeInstanceOf(UnrecoverableError);
    expect(fatal).toMatchObject({ message: error.message, stack: error.stack, cause: error });
    expect(errorCodeOf(fatal)).toBe('HOLDFAST_RESULT_TOO_LARGE');
    expect(errorCodeOf(new RangeError('x'))).toBe('RangeError');
  });
});

describe('a misfit', () => {
  const unknown = new UnknownJobNameError('q', 'new', ['old']);

  it('is put off from its first sight, which any replica can read, then fails', () => {
    const first = of(unknown);
    if (first.type !== 'put-off') throw new Error(first.type);
    expect(first.delayMs).toBe(1000);
    const later = of(unknown, { failedReason: first.failedReason, now: now + 40_000 });
    expect(later).toMatchObject({ type: 'put-off', delayMs: 20_000 });
    if (later.type !== 'put-off') throw new Error(later.type);
    expect(later.failedReason).toBe(first.failedReason);
    expect(of(unknown, { failedReason: first.failedReason, now: now + 60_000 })).toEqual({
      type: 'failed',
      error: unknown,
      isFinal: true,
    });
  });

  it('begins anew after a failure of another kind, and without a grace fails at once', () => {
    expect(of(unknown, { failedReason: 'connection refused' }).type).toBe('put-off');
    expect(of(unknown, { unknownJobGraceMs: 0 }).type).toBe('failed');
  });

  it('waits no longer for a clock that was ahead', () => {
    const ahead = graceOf(undefined, 'x', now + 3_600_000, 60_000);
    if (ahead.type !== 'put-off') throw new Error(ahead.type);
    const here = graceOf(ahead.failedReason, 'x', now, 60_000);
    expect(here).toMatchObject({ type: 'put-off', delayMs: 1000 });
    if (here.type !== 'put-off') throw new Error(here.type);
    expect(graceOf(here.failedReason, 'x', now + 60_000, 60_000).type).toBe('over');
  });
});
