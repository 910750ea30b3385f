/**
 * Outcomes on their way through the journal: what the queue room needs to do a settle again, as text,
 * and back. The journal itself knows nothing of BullMQ.
 */

import type { Kept, OutcomeEntry } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { HeldJob, Outcome } from './ledger.ts';
import type { Settlement } from './target-core.ts';

interface Payload {
  command: string;
  args: readonly unknown[];
  job: Pick<
    HeldJob,
    'attemptsMade' | 'lockMs' | 'name' | 'notes' | 'schedulerUpdate' | 'processedOn' | 'hash'
  >;
}

export function toEntry(
  prefix: string,
  queue: string,
  settlement: Settlement,
  at: number,
): OutcomeEntry {
  const { job, command, args } = settlement;
  const payload: Payload = {
    command,
    args,
    job: {
      attemptsMade: job.attemptsMade,
      lockMs: job.lockMs,
      name: job.name,
      notes: job.notes,
      schedulerUpdate: job.schedulerUpdate,
      ...ranHere(job),
    },
  };
  return {
    type: 'outcome',
    kind: command,
    queue,
    prefix,
    jobId: job.id,
    token: job.token,
    attemptsStarted: job.attemptsStarted,
    jobTimestamp: job.timestamp,
    args: JSON.stringify(payload, binaryAsText),
    at,
  };
}

/** Of a job that ran from the journal. */
function ranHere({ processedOn, hash }: HeldJob): Pick<HeldJob, 'processedOn' | 'hash'> {
  if (processedOn === undefined) return {};
  return hash === undefined ? { processedOn } : { processedOn, hash };
}

export function fromEntry(entry: Kept<OutcomeEntry>): Outcome {
  const payload = JSON.parse(entry.args, textAsBinary) as Payload;
  return {
    command: payload.command,
    args: payload.args,
    at: entry.at,
    position: entry.position,
    job: {
      ...payload.job,
      id: entry.jobId,
      token: entry.token,
      timestamp: entry.jobTimestamp,
      attemptsStarted: entry.attemptsStarted,
      lockedAt: Number.NEGATIVE_INFINITY,
      takenAt: Number.NEGATIVE_INFINITY,
      isStarted: true,
      writing: undefined,
      isGone: false,
      stalls: undefined,
      alias: undefined,
      isLost: false,
      earlier: undefined,
    },
  };
}

/** The job ran from the journal, and Redis may not have it. */
export function ranFromJournal({ args }: Pick<OutcomeEntry, 'args'>): boolean {
  return (JSON.parse(args) as Payload).job.processedOn !== undefined;
}

/** Buffers (msgpack) among the arguments become `{ "$base64": … }`. */
function binaryAsText(this: unknown, key: string, value: unknown): unknown {
  const original = (this as Record<string, unknown>)[key];
  return Buffer.isBuffer(original) ? { $base64: original.toString('base64') } : value;
}

function textAsBinary(_key: string, value: unknown): unknown {
  const text = (value as { $base64?: unknown } | null)?.$base64;
  return typeof text === 'string' ? Buffer.from(text, 'base64') : value;
}

export type OutcomeJournal = Pick<Journal, 'append' | 'settle' | 'refuse'>;
