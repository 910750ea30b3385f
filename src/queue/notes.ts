/**
 * What a handler reports while Redis is away: kept with its job, bounded, and written in its order before
 * the job's outcome. While older notes are on their way, newer ones queue behind them, so that nothing
 * old overwrites something new.
 */
import type { Generation } from './generation.ts';
import { type HeldJob, LOG_LINES_MAX, type Notes, type QueueLedger } from './ledger.ts';
import type { TargetCore } from './target-core.ts';

/** Where BullMQ's `addLog` has the list, the line, and how many lines are kept; '' for all. */
const LOG_KEY = 1;
const LOG_LINE = 3;
const LOG_KEEP = 4;

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

/** Keeps a log line that was sent and not answered: it may be in Redis, before those that were not sent. */
export function noteUnanswered(job: HeldJob, args: readonly unknown[]): void {
  const { logLines, notes } = job;
  const length = notes?.logs.length ?? 0;
  note(job, 'addLog', args);
  if (logLines === undefined || isTrimmed(args) || job.notes!.logs.length === length) return;
  const kept = job.notes!;
  kept.unanswered ??= { from: logLines, count: 0 };
  kept.logs.splice(kept.unanswered.count, 0, kept.logs.pop()!);
  kept.unanswered.count += 1;
}

/** The answer to a log line that was sent. */
export function countLine(job: HeldJob, args: readonly unknown[], reply: unknown): void {
  const lines = Number(reply);
  // Below: the job is not there.
  job.logLines = isTrimmed(args) || lines < 1 ? undefined : lines;
}

/** Redis keeps the last lines only: how many it has says nothing of a line. */
function isTrimmed(args: readonly unknown[]): boolean {
  return args[LOG_KEEP] !== '';
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
      await dropWritten(generation, job, notes);
      while (notes.logs.length > 0) {
        const args = notes.logs[0]!;
        const { logLines } = job;
        if (logLines !== undefined && !isTrimmed(args)) {
          notes.unanswered = { from: logLines, count: 1 };
        }
        countLine(job, args, await core.send(generation, ledger, 'addLog', args));
        notes.unanswered = undefined;
        notes.logs.shift();
      }
    } catch (error) {
      job.notes = merged(notes, job.notes);
      throw error;
    }
  }
}

/** Takes off the lines that Redis has, their answers lost. What was sent before a recovery does not act after it. */
async function dropWritten(generation: Generation, job: HeldJob, notes: Notes): Promise<void> {
  if (!notes.unanswered) return;
  const { from, count } = notes.unanswered;
  const key = String(notes.logs[0]![LOG_KEY]);
  const there = await generation.range(key, from, from + count - 1);
  let written = 0;
  while (written < there.length && there[written] === String(notes.logs[written]![LOG_LINE])) {
    written += 1;
  }
  notes.logs.splice(0, written);
  notes.unanswered = undefined;
  job.logLines = from + written;
}

function merged(older: Notes, newer: Notes | undefined): Notes {
  if (!newer) return older;
  return {
    progress: newer.progress ?? older.progress,
    data: newer.data ?? older.data,
    logs: [...older.logs, ...newer.logs].slice(0, LOG_LINES_MAX),
    logsDropped: older.logsDropped + newer.logsDropped,
    unanswered: older.unanswered,
  };
}
