/**
 * What has become of an accepted id whose job was deduplicated on its way from the journal: its caller has
 * the id, and Redis another job. For a while the id leads to that job.
 */
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';

/** Long enough for whoever waits for the job, ms. */
const KEEP_MS = 24 * 3_600_000;

export function aliasKey(ledger: QueueLedger, jobId: string): string {
  return ledger.key(`alias:${jobId}`);
}

/**
 * Notes which job an add of `jobId` found in its place, if its reply says so. Never rejects: an outage
 * is met by what is sent next, and costs no more than this note.
 */
export async function keepAlias(
  generation: Generation | undefined,
  ledger: QueueLedger,
  jobId: string,
  reply: unknown,
): Promise<void> {
  if (typeof reply !== 'string' || reply === '' || reply === jobId) return;
  const kept = generation?.client.set(aliasKey(ledger, jobId), reply, 'PX', KEEP_MS);
  await kept?.catch(() => undefined);
}
