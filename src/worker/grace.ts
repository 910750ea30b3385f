/**
 * How long a job waits for a handler that understands it. In a rolling deploy an old replica meets
 * jobs of a newer one: it puts them off instead of failing them.
 *
 * The first sight is written where BullMQ keeps the reason of a failed attempt. So it survives in
 * whichever replica looks next, is seen in every dashboard, and the user's data stays untouched.
 */

/** The first put-off is this long, ms; then as long as the job has waited already, up to the second. */
const DELAY_MIN_MS = 1000;
const DELAY_MAX_MS = 30_000;

const MARK = /^Put off since (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z): /;

export type Grace =
  | { type: 'put-off'; delayMs: number; failedReason: string }
  /** The job has waited long enough. */
  | { type: 'over' };

/** `now` is ms since the epoch; `failedReason` is the job's as it was taken. */
export function graceOf(
  failedReason: string | undefined,
  message: string,
  now: number,
  graceMs: number,
): Grace {
  const mark = MARK.exec(failedReason ?? '')?.[1];
  // A mark from the future is a replica whose clock is ahead of ours: counted from now on.
  const since = Math.min(mark === undefined ? now : Date.parse(mark), now);
  const leftMs = since + graceMs - now;
  if (leftMs <= 0) return { type: 'over' };
  const paceMs = Math.min(Math.max(now - since, DELAY_MIN_MS), DELAY_MAX_MS);
  return {
    type: 'put-off',
    delayMs: Math.min(paceMs, leftMs),
    failedReason: `Put off since ${new Date(since).toISOString()}: ${message}`,
  };
}
