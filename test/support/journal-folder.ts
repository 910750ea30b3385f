/** Gives a test a place for journals, opens them there, and clears up after it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import {
  type Journal,
  type JournalOptions,
  type Kept,
  openJournal,
} from '../../src/journal/journal.ts';
import { systemClock } from '../../src/time.ts';

export interface LogLine {
  level: 'warn' | 'error';
  fields: Record<string, unknown>;
  message: string;
}

export async function journalFolder(place = tmpdir()): Promise<string> {
  const dir = await mkdtemp(join(place, 'holdfast-journal-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A log that keeps its lines in `lines`. */
export function logInto(lines: LogLine[]): JournalOptions['log'] {
  return {
    warn: (fields, message) => lines.push({ level: 'warn', fields: { ...fields }, message }),
    error: (fields, message) => lines.push({ level: 'error', fields: { ...fields }, message }),
  };
}

export async function openIn(dir: string, options: Partial<JournalOptions> = {}): Promise<Journal> {
  const journal = await openJournal({
    dir,
    replica: 'one',
    mode: 'disk',
    bytesMax: 64 * 1024 * 1024,
    entriesMax: 100_000,
    clock: systemClock,
    log: logInto([]),
    ownWaitMs: 0,
    ...options,
  });
  onTestFinished(async () => {
    await journal.close();
  });
  return journal;
}

export async function allOutcomes(journal: Journal, queue?: string): Promise<Kept[]> {
  const found: Kept[] = [];
  for await (const entry of journal.outcomes(queue)) found.push(entry);
  return found;
}
