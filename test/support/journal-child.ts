/**
 * A process that keeps a journal, to be killed by a test. Started with base folder, replica name
 * and how many entries to append before it waits; says `open`, then each job id once it is kept. With
 * `adopt` instead of a number it takes over what others left, and says how many entries; with `fill` it appends
 * jobs until there is no room for the smallest. What it logs as a warning it says by the name of the event.
 */
import { writeSync } from 'node:fs';
import { JournalError, JournalFullError } from '../../src/errors.ts';
import { type Journal, openJournal } from '../../src/journal/journal.ts';
import { systemClock } from '../../src/time.ts';
import { jobNumber, outcomeNumber } from './journal-entries.ts';

const [dir = '', replica = '', count = '0'] = process.argv.slice(2);
const say = (line: string) => writeSync(1, `${line}\n`);

/** Ever smaller ones, so that nothing is left for any. */
async function fill(journal: Journal): Promise<void> {
  let number = 0;
  for (const bytes of [200_000, 20_000, 3_000, 100]) {
    try {
      for (; ; number++) {
        const args = JSON.stringify({ number, pad: 'x'.repeat(bytes) });
        await journal.append({ ...jobNumber(number), args });
        say(`job-${number}`);
      }
    } catch (error) {
      if (!(error instanceof JournalFullError)) throw error;
    }
  }
}

try {
  const journal = await openJournal({
    dir,
    replica,
    mode: 'disk',
    bytesMax: 1e8,
    entriesMax: 1e5,
    clock: systemClock,
    log: {
      warn: (fields) => say(`warns ${(fields as { event?: string }).event}`),
      error: () => {},
    },
    ownWaitMs: 0,
  });
  say('open');
  if (count === 'adopt') {
    for (const { replica, entries } of await journal.adoptOrphans()) {
      say(`adopted ${entries} of ${replica}`);
    }
  }
  if (count === 'fill') await fill(journal);
  for (let number = 0; number < Number(count); number++) {
    await journal.append(outcomeNumber(number));
    say(`job-${number}`);
  }
  say('done');
  // The journal's thread keeps the process alive until it is killed.
} catch (error) {
  say(error instanceof JournalError ? `refused ${error.message}` : `failed ${error}`);
  process.exit(1);
}
