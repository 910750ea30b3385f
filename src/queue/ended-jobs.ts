/**
 * Jobs that ran from the journal to their end, as a journal of nothing else: they go to Redis by a replay of
 * their own, so that nobody who enqueues waits until it has them.
 */
import type { Journal, JournalStats, Position } from '../journal/journal.ts';
import type { IslandEnds } from './island-ends.ts';

/** What a replay asks of a journal. */
export type ReplayedJournal = Pick<Journal, 'jobs' | 'settle' | 'mark' | 'lingers' | 'refuse'> & {
  stats(): Pick<JournalStats, 'jobs'>;
};

/** Sent at once: half as many as of accepted jobs, each costs Redis twice as much, and others wait behind them. */
export const ENDED_PAGE_ENTRIES = 128;

export function endedJobs(journal: Journal, ends: IslandEnds): ReplayedJournal {
  return {
    stats: () => ({ jobs: ends.size }),
    async *jobs(_queue?: string, after?: Position) {
      for await (const entry of journal.read(ends.placesAfter(after))) {
        if (entry.type === 'job') yield entry;
      }
    },
    settle: (positions) => journal.settle(positions),
    mark: (positions, mark) => journal.mark(positions, mark),
    lingers: (count) => journal.lingers(count),
    refuse: (position, reason) => journal.refuse(position, reason),
  };
}
