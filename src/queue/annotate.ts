/**
 * Notes of a handler on its job (progress, data, log lines): they neither throw into the handler nor hold
 * it up while Redis is away. What cannot be written now is kept, and written before the outcome.
 */
import { keyCount } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';
import { countLine, hasNotes, note, noteUnanswered } from './notes.ts';
import type { Sender } from './sender.ts';

/** The job in flight here that the script annotates. */
export function annotatedJob(
  ledger: QueueLedger,
  script: string,
  args: readonly unknown[],
): HeldJob | undefined {
  const id =
    script === 'updateData'
      ? String(args[0]).slice(ledger.toKey('').length)
      : String(args[keyCount(script)]);
  return ledger.held.get(id);
}

/** Without a generation the note is kept. */
export async function annotate(
  generation: Generation | undefined,
  sender: Sender,
  job: HeldJob,
  script: string,
  args: readonly unknown[],
): Promise<unknown> {
  if (job.isGone) return 0;
  // Behind what was kept before: those who write that write this as well.
  const isSent = generation !== undefined && !hasNotes(job);
  const outcome = isSent
    ? await sender.attempt(generation, () => sender.run(script, args, generation))
    : undefined;
  if (outcome) {
    if (script === 'addLog') countLine(job, args, outcome.reply);
    return outcome.reply;
  }
  if (isSent && script === 'addLog') noteUnanswered(job, args);
  else note(job, script, args);
  return script === 'addLog' ? (job.notes?.logs.length ?? 0) : 0;
}
