/**
 * Outcomes that lie in the journal at the start, or that came with a dead replica's: each becomes owed to
 * Redis. Of jobs that ran from the journal to their end there may be as many as a journal holds; of those
 * only the places are kept, beside those of their jobs (`island-ends.ts`).
 */
import type { Kept, OutcomeEntry, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Islands } from './island.ts';
import { endsJob, mayHaveRunHere } from './island-job.ts';
import type { Ledgers } from './ledgers.ts';
import { ranFromJournal } from './outcome-store.ts';
import type { Settlements } from './settlements.ts';

export interface FoundDeps {
  journal: Pick<Journal, 'outcomes' | 'jobs' | 'read'>;
  ledgers: Pick<Ledgers, 'of'>;
  settlements: Pick<Settlements, 'adopt' | 'isLeaving' | 'superseded'>;
  islands: Pick<Islands, 'has' | 'found'>;
}

/** The last that is known of a job that ran from the journal. */
interface Last {
  position: Position;
  attemptsStarted: number;
  isEnd: boolean;
}

/** @throws JournalError */
export async function loadOutcomes(deps: FoundDeps): Promise<void> {
  const { journal, settlements, islands } = deps;
  const lasts = await lastOutcomes(deps);
  if (lasts.size === 0) return;
  const toAdopt: Position[] = [];
  for await (const { position, mark, ...job } of journal.jobs()) {
    const name = nameOf(job);
    const last = mayHaveRunHere({ mark }) ? lasts.get(name) : undefined;
    if (!last) continue;
    lasts.delete(name);
    // Of this life: it is known.
    if (islands.has(position)) continue;
    if (!last.isEnd) toAdopt.push(last.position);
    islands.found(position, last.isEnd ? last.position : undefined);
  }
  // Without its job there is nothing to add: recovery looks what Redis says of it.
  for (const { position } of lasts.values()) toAdopt.push(position);
  for await (const entry of journal.read(toAdopt)) {
    if (entry.type === 'outcome') settlements.adopt(ledgerOf(deps), entry);
  }
}

/** Of jobs that ran from the journal, by their names; all others are adopted. */
async function lastOutcomes(deps: FoundDeps): Promise<Map<string, Last>> {
  const { journal, settlements } = deps;
  const lasts = new Map<string, Last>();
  const older: Position[] = [];
  for await (const entry of journal.outcomes()) {
    const { position, attemptsStarted, kind } = entry;
    if (settlements.isLeaving(position)) continue;
    if (!ranFromJournal(entry)) {
      settlements.adopt(ledgerOf(deps), entry);
      continue;
    }
    const name = nameOf(entry);
    const last = lasts.get(name);
    if (last && last.attemptsStarted > attemptsStarted) {
      older.push(position);
      continue;
    }
    if (last) older.push(last.position);
    lasts.set(name, { position, attemptsStarted, isEnd: endsJob(kind) });
  }
  await settlements.superseded(older);
  return lasts;
}

function nameOf({ prefix, queue, jobId }: Pick<Kept<OutcomeEntry>, 'prefix' | 'queue' | 'jobId'>) {
  return `${prefix}:${queue}:${jobId}`;
}

function ledgerOf({ ledgers }: FoundDeps) {
  return (prefix: string, queue: string) => ledgers.of(prefix, queue);
}
