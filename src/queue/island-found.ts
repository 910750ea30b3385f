/**
 * Outcomes that lie in the journal at the start, or that came with a dead replica's: each becomes owed to
 * Redis. Of jobs that ran from the journal to their end there may be as many as a journal holds; of those
 * only the places are kept, beside those of their jobs (`island-ends.ts`).
 */
import type { Head, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Islands } from './island.ts';
import { endsJob, mayHaveRunHere } from './island-job.ts';
import type { Ledgers } from './ledgers.ts';
import { ranFromJournal } from './outcome-store.ts';
import type { Settlements } from './settlements.ts';

export interface FoundDeps {
  journal: Pick<Journal, 'heads' | 'read'>;
  ledgers: Pick<Ledgers, 'of'>;
  settlements: Pick<Settlements, 'adopt' | 'isLeaving' | 'superseded'>;
  islands: Pick<Islands, 'has' | 'found'>;
}

/** The last that is known of a job. */
interface Last {
  position: Position;
  attemptsStarted: number;
  isEnd: boolean;
}

/** @throws JournalError */
export async function loadOutcomes(deps: FoundDeps): Promise<void> {
  const { journal, settlements, islands, ledgers } = deps;
  const known = await outcomesByJob(deps);
  if (known.size === 0) return;
  const toAdopt: Position[] = [];
  const older: Position[] = [];
  /** Out of damaged files: only the outcome tells whether the job ran from the journal. */
  const doubtful = new Map<Position, Position>();
  for await (const { position, mark, ...job } of journal.heads('job')) {
    const name = nameOf(job);
    const outcomes = mayHaveRunHere({ mark }) ? known.get(name) : undefined;
    if (!outcomes) continue;
    known.delete(name);
    // Of this life: it is known.
    if (islands.has(position)) continue;
    const owed = ledgers.of(job.prefix, job.queue).unsettled.get(job.jobId)?.position;
    if (outcomes.some((outcome) => outcome.position === owed)) continue;
    const [last, ...before] = outcomes.sort((a, b) => b.attemptsStarted - a.attemptsStarted);
    older.push(...before.map((outcome) => outcome.position));
    if (mark === 'running') islands.found(position, last!.isEnd ? last!.position : undefined);
    else doubtful.set(last!.position, position);
    if (mark !== 'running' || !last!.isEnd) toAdopt.push(last!.position);
  }
  // Jobs that Redis had: each of these is compared with what is known of the job.
  for (const outcomes of known.values()) toAdopt.push(...outcomes.map(({ position }) => position));
  for await (const entry of journal.read(toAdopt)) {
    if (entry.type !== 'outcome') continue;
    const job = doubtful.get(entry.position);
    if (job !== undefined && ranFromJournal(entry)) {
      const isEnd = endsJob(entry.kind);
      islands.found(job, isEnd ? entry.position : undefined);
      if (isEnd) continue;
    }
    settlements.adopt((prefix, queue) => ledgers.of(prefix, queue), entry);
  }
  await settlements.superseded(older);
}

async function outcomesByJob({ journal, settlements }: FoundDeps): Promise<Map<string, Last[]>> {
  const known = new Map<string, Last[]>();
  for await (const head of journal.heads('outcome')) {
    const { position, attemptsStarted, kind } = head;
    if (settlements.isLeaving(position)) continue;
    const name = nameOf(head);
    const outcome = { position, attemptsStarted, isEnd: endsJob(kind) };
    const others = known.get(name);
    if (others) others.push(outcome);
    else known.set(name, [outcome]);
  }
  return known;
}

function nameOf({ prefix, queue, jobId }: Pick<Head, 'prefix' | 'queue' | 'jobId'>): string {
  return `${prefix}:${queue}:${jobId}`;
}
