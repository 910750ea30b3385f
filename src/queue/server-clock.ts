/**
 * A host whose clock is wrong must not run delayed jobs an hour early, nor push a schedule an hour on.
 * BullMQ puts the worker's clock into its scripts; where that is far from the server's, the server's
 * stands there instead. In calm weather nothing is changed.
 */
import type { Clock } from '../time.ts';
import { keyCount } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';

/** Where a script's arguments behind its keys say what time it is (BullMQ 6.7). */
const timeArgument: Readonly<Record<string, number>> = {
  moveToActive: 1,
  moveToFinished: 1,
  moveToDelayed: 1,
  retryJob: 1,
  updateJobScheduler: 4,
};

/** The arguments with the server's time, if ours is wrong. */
export function onServerClock(
  script: string,
  args: readonly unknown[],
  generation: Generation,
): readonly unknown[] {
  const at = timeArgument[script];
  if (at === undefined || !generation.isSkewed) return args;
  const corrected = [...args];
  corrected[keyCount(script) + at] = Math.round(generation.serverNow());
  return corrected;
}

/**
 * A taken job as this host's clock sees it: BullMQ renews a lock by comparing `processedOn` with its own
 * clock, and would not for an hour.
 */
export function onOwnClock(reply: unknown, clock: Clock): void {
  if (!Array.isArray(reply) || !Array.isArray(reply[0])) return;
  const fields = reply[0] as unknown[];
  const at = fields.indexOf('processedOn');
  if (at >= 0) fields[at + 1] = String(clock.wall());
}
