/**
 * The end of a process as its queues see it: our keys go, so that nobody waits for us, and what is
 * under way gets its end. A server that does not answer is not waited for.
 */
import type { Clock, Instant } from '../time.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';

/** Our keys are removed if Redis answers within this time, ms. */
const GOODBYE_MS = 500;
/** Outcomes whose requests had no reply are on disk within this time, ms; looked at so often. */
const SETTLES_END_MS = 500;
const SETTLES_LOOK_MS = 5;

/** Removes our keys. */
export async function sayGoodbye(
  generation: Generation,
  ledgers: Iterable<QueueLedger>,
  processId: string,
  clock: Clock,
  deadline: Instant,
): Promise<void> {
  const pipeline = generation.client.pipeline();
  for (const ledger of ledgers) {
    pipeline.zrem(ledger.key('members'), processId);
    pipeline.del(ledger.epochKey(processId));
  }
  const waitMs = Math.max(0, Math.min(GOODBYE_MS, deadline - clock.now()));
  await Promise.race([
    pipeline.exec().catch(() => undefined),
    new Promise<void>((resolve) => clock.after(waitMs, resolve)),
  ]);
}

/** Requests that had no reply are rejected by now: their outcomes go to the journal before it closes. */
export async function settlesEnd(ledgers: Iterable<QueueLedger>, clock: Clock): Promise<void> {
  const by = clock.now() + SETTLES_END_MS;
  const all = [...ledgers];
  while (all.some(({ settling }) => settling > 0) && clock.now() < by) {
    await new Promise<void>((resolve) => clock.after(SETTLES_LOOK_MS, resolve));
  }
}
