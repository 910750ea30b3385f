/**
 * The door of the journal room: opens the durable store and names its types. Empty in calm weather,
 * and without a timer or a write then.
 */
import type { Journal, JournalOptions } from './contract.ts';
import { openDiskJournal } from './disk-journal.ts';
import { MemoryJournal } from './memory-journal.ts';

export type { Journal, JournalOptions, JournalStats } from './contract.ts';
export type {
  Entry,
  FoundJob,
  JobEntry,
  Kept,
  OutcomeEntry,
  Position,
} from './entry.ts';

/** @throws JournalError if the folder is in use, not writable, or of a newer format */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  return options.mode === 'memory' ? new MemoryJournal(options) : openDiskJournal(options);
}
