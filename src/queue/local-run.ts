/** How a job stands that ran from the journal here, or runs, while Redis does not have it. */
import type { JobView } from './client.ts';
import { keyCount } from './fenced-scripts.ts';
import { noteFields, retryOf } from './island-job.ts';
import type { HeldJob, Outcome, QueueLedger } from './ledger.ts';

/** In BullMQ's words, as Redis will have it. */
export type LocalRun = Pick<
  JobView,
  'state' | 'progress' | 'result' | 'failedReason' | 'attemptsMade' | 'startedAt' | 'finishedAt'
>;

/**
 * Undefined for a job that did not begin here.
 * @param end how it ended, where only the journal has that
 */
export function localRun(
  ledger: QueueLedger,
  jobId: string,
  end: Outcome | undefined,
): LocalRun | undefined {
  const held = ledger.held.get(jobId);
  if (held?.processedOn !== undefined) return underWay(held, 'active', held.attemptsMade);
  const outcome = ledger.unsettled.get(jobId) ?? end;
  return outcome?.job.processedOn === undefined ? undefined : ended(outcome);
}

function underWay(job: HeldJob, state: string, attemptsMade: number): LocalRun {
  const { progress } = noteFields(job.notes);
  return {
    state,
    progress: progress === undefined ? 0 : parsed(progress),
    result: null,
    failedReason: job.hash?.failedReason,
    attemptsMade,
    startedAt: job.processedOn,
    finishedAt: undefined,
  };
}

function ended({ job, command, args }: Outcome): LocalRun {
  const attempted = job.attemptsMade + 1;
  if (command !== 'moveToFinished') {
    const retry = retryOf({ job, command, args });
    if (!retry) return underWay(job, 'waiting', job.attemptsMade);
    const state = command === 'moveToDelayed' ? 'delayed' : 'waiting';
    const { attemptsMade, fields } = retry;
    const view = underWay(job, state, attemptsMade);
    return { ...view, failedReason: fields.failedReason ?? view.failedReason };
  }
  const [finishedAt, , value, state] = args.slice(keyCount(command) + 1);
  const isCompleted = state === 'completed';
  return {
    ...underWay(job, String(state), attempted),
    result: isCompleted ? parsed(value) : null,
    failedReason: isCompleted ? undefined : String(value),
    finishedAt: Number(finishedAt),
  };
}

/** As BullMQ reads a job's result: what is no JSON stays as it is. */
function parsed(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return text;
  }
}
