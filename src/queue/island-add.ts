/**
 * Adds a job that ran from the journal to Redis: added and taken for its run here in one transaction, so
 * that nobody else takes it between the two.
 */
import { addCall, type Multi } from './add-work.ts';
import { commandName, numberedArgs, numberedName } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { AcceptedJob } from './job-store.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';

const CLAIM_KEYS = ['wait', 'paused', 'active', 'prioritized', 'delayed'];

/**
 * As the first and only one of the series `key`.
 * @throws what Redis says, also when it refuses the job
 */
export async function islandAdd(
  generation: Generation,
  ledger: QueueLedger,
  accepted: AcceptedJob,
  key: string,
  held: HeldJob,
): Promise<void> {
  const { job, parent } = accepted.single!;
  const { script, args } = addCall(ledger, job, accepted.jobId, parent);
  const multi = generation.adapted.multi() as unknown as Multi;
  const number = { key, before: 0, number: 1 };
  multi.runCommand(commandName(numberedName(script)!), numberedArgs(script, args, number));
  multi.runCommand(commandName('island-claim'), [
    ...CLAIM_KEYS.map((type) => ledger.toKey(type)),
    ledger.toKey(''),
    held.id,
    held.token,
    held.timestamp,
    held.attemptsStarted,
    held.attemptsMade,
    held.lockMs,
    held.processedOn ?? 0,
  ]);
  for (const [error] of await multi.exec()) if (error) throw error;
}
