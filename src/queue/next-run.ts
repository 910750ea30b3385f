/**
 * The next run of a schedule, made again after a rollback. A worker that takes a scheduled job makes its
 * scheduler's next one at once; a dataset that went back before that has forgotten it, and the schedule
 * would stand still for ever. The run that is made again may be one that another worker has run already:
 * in the same transaction it goes to that worker (`lua/claim.ts`).
 */
import { claimArgs, fenceArgs, queueScript, type Transaction } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';
import { fencedReason } from './lua/fence.ts';

export interface NextRunDeps {
  processId: string;
  fenceMs(): number;
  compareClocks(): Promise<void>;
}

/** A command that came late did nothing; it is sent again after a look at the server's clock. */
const TRIES = 3;

/**
 * @param update arguments of BullMQ's `updateJobScheduler`; it does nothing when the scheduler has gone on
 * @throws what the connection or Redis says
 */
export async function makeNextRun(
  generation: Generation,
  ledger: QueueLedger,
  update: readonly unknown[],
  deps: NextRunDeps,
): Promise<void> {
  for (let left = TRIES; ; left -= 1) {
    const fence = ledger.fence(deps.processId, generation.serverNow() + deps.fenceMs());
    const multi = generation.client.multi() as Transaction;
    const script = 'updateJobScheduler';
    queueScript(multi, script, fenceArgs(script, update, fence));
    queueScript(multi, 'claim', claimArgs(ledger, []));
    const failed = (await multi.exec()).find(([error]) => error !== null)?.[0];
    if (!failed) return;
    if (left <= 1 || fencedReason(failed) !== 'late') throw failed;
    await deps.compareClocks();
  }
}
