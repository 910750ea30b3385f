/**
 * What a handler reports while Redis is away: kept with its job, bounded, and written in its order before
 * the job's outcome. While older notes are on their way, newer ones queue behind them, so that nothing
 * old overwrites something new.
 */
import type { Generation } from './generation.ts';
import { type HeldJob, LOG_LINES_MAX, type Notes, type QueueLedger } from './ledger.ts';
import type { TargetCore } from './target-core.ts';

/** Keeps one call of `updateProgress`, `updateData` or `addLog`. */
export function note(job: HeldJob, script: string, args: readonly unknown[]): void {
  job.notes ??= { progress: undefined, data: undefined, logs: [], logsDropped: 0 };
  const { notes } = job;
  const kept = [...args];
  if (script === 'updateProgress') notes.progress = kept;
  else if (script === 'updateData') notes.data = kept;
  else if (notes.logs.length < LOG_LINES_MAX) notes.logs.push(kept);
  else notes.logsDropped += 1;
}

/** Whether something of the job's is kept or on its way. */
export function hasNotes(job: HeldJob): boolean {
  return job.notes !== undefined || job.writing !== undefined;
}

/** Latest data and progress, and the log lines in their order, until nothing is left. */
export async function writeNotes(
  generation: Generation,
  ledger: QueueLedger,
  job: HeldJob,
  core: Pick<TargetCore, 'send'>,
): Promise<void> {
  // Another's failure is told to the other; what it left is tried again here.
  while (job.writing) await job.writing.catch(() => undefined);
  if (!job.notes) return;
  job.writing = writeAll(generation, ledger, job, core).finally(() => {
    job.writing = undefined;
  });
  await job.writing;
}

async function writeAll(
  generation: Generation,
  ledger: QueueLedger,
  job: HeldJob,
  core: Pick<TargetCore, 'send'>,
): Promise<void> {
  while (job.notes) {
    const { notes } = job;
    // What the handler adds from here on is kept apart, and written in the next round.
    job.notes = undefined;
    try {
      if (notes.data) await core.send(generation, ledger, 'updateData', notes.data);
      if (notes.progress) await core.send(generation, ledger, 'updateProgress', notes.progress);
      while (notes.logs.length > 0) {
        await core.send(generation, ledger, 'addLog', notes.logs[0]!);
        notes.logs.shift();
      }
    } catch (error) {
      job.notes = merged(notes, job.notes);
      throw error;
    }
  }
}

function merged(older: Notes, newer: Notes | undefined): Notes {
  if (!newer) return older;
  return {
    progress: newer.progress ?? older.progress,
    data: newer.data ?? older.data,
    logs: [...older.logs, ...newer.logs].slice(0, LOG_LINES_MAX),
    logsDropped: older.logsDropped + newer.logsDropped,
  };
}
