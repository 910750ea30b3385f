/**
 * A process that keeps a journal, to be killed by a test. Started with base folder, replica name
 * and how many entries to append before it waits; says `open`, then each job id once it is kept. With
 * `adopt` instead of a number it takes over what others left, and says how many entries. What it logs as a
 * warning it says by the name of the event.
 */
import { writeSync } from 'node:fs';
import { JournalError } from '../../src/errors.ts';
import { openJournal } from '../../src/journal/journal.ts';
import { systemClock } from '../../src/time.ts';
import { outcomeNumber } from './journal-entries.ts';

const [dir = '', replica = '', count = '0'] = process.argv.slice(2);
const say = (line: string) => writeSync(1, `${line}\n`);

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
