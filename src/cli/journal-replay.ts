/**
 * `holdfast journal replay`: takes over every journal that no living process owns, as a service
 * would, and writes it to Redis. Until the last entry is there all of it stays on disk; interrupted,
 * it is taken over by the next. Never touches the journal of a living process.
 */
import pino from 'pino';
import type { Config } from '../config.ts';
import { JournalError, JournalFullError, NothingReachableError } from '../errors.ts';
import { freeBytes } from '../journal/file-system.ts';
import { type FolderStatus, journalStatus, putBackRefused } from '../journal/inspect.ts';
import { openJournal } from '../journal/journal.ts';
import { underNewNumber } from '../queue/job-store.ts';
import { ResilientTarget } from '../queue/resilient-target.ts';
import { systemClock } from '../time.ts';
import { EXIT } from './exit-codes.ts';
import { redisOf } from './find-route.ts';
import { noteUnknown } from './journal-entries.ts';
import { many } from './moments.ts';
import { note, print } from './terminal.ts';

/** The name of this command's own place. */
const OWN_PLACE = `replay-${process.pid}`;

const LOOK_MS = 100;
const STOP_MS = 1_500;

/** What a journal of so many bytes may take on disk when it is copied, with its reserve and log. */
const COPY_FACTOR = 2;
const COPY_BYTES_MIN = 4 * 1024 * 1024;

interface ReplayOptions {
  refused?: boolean;
  timeout: number;
  json?: boolean;
}

/** What became of the entries. */
interface End {
  written: number;
  left: number;
  /** Redis refuses them; they are kept. */
  refused: number;
  /** Where what is kept is. */
  path: string;
}

export async function replay(
  config: Config,
  folders: readonly FolderStatus[],
  { refused, timeout, json }: ReplayOptions,
): Promise<number> {
  const { dir } = config.resilience.journal;
  const living = namesOf(folders, 'living');
  for (const replica of living) {
    note(`${replica} has a living owner, which replays it itself; left alone.`);
  }
  const unknown = folders.filter(noteUnknown).map(({ replica }) => replica);
  const tell = (found: object): void => {
    if (json) print(JSON.stringify({ ...found, living, unknown }, null, 2));
  };
  const orphans = folders.filter(({ owner }) => owner === 'none');
  if (refused) {
    for (const { replica } of orphans) {
      const count = putBackRefused(dir, replica, underNewNumber);
      if (count > 0) note(`${replica}: ${many(count, 'refused entry')} back in line.`);
    }
  }
  if (orphans.length === 0) {
    note(unknown.length === 0 ? 'There is nothing to replay.' : 'Nothing was replayed.');
    tell({ written: 0, left: 0, refused: 0 });
    return unknown.length === 0 ? EXIT.done : EXIT.jobFailed;
  }
  const giveUpAt = systemClock.now() + timeout;
  const sum = { written: 0, left: 0, refused: 0 };
  let kept: string | undefined;
  const redis = redisOf(config);
  if (redis === undefined) {
    throw new NothingReachableError([
      `REDIS_URL: not set; ${config.dataDir}/redis.json: no embedded Redis runs`,
    ]);
  }
  const places = placesFor(dir, orphans);
  for (const place of places) {
    let end: End;
    try {
      end = await drain({ ...config, redis }, place, giveUpAt);
    } catch (error) {
      const isOfJournal = error instanceof JournalError || error instanceof JournalFullError;
      if (!isOfJournal || places.length === 1) throw error;
      note(error.message);
      continue;
    }
    sum.written += end.written;
    sum.left += end.left;
    sum.refused += end.refused;
    if (end.left + end.refused > 0) kept = end.path;
    if (end.left > 0) {
      note(`After ${timeout} ms not in Redis, kept in ${end.path}: ${many(end.left, 'entry')}.`);
      break;
    }
    if (end.refused > 0) {
      note(`Redis refuses ${end.refused}, kept in ${end.path}: holdfast journal list --refused`);
    }
  }
  tell({ ...sum, ...(kept === undefined ? {} : { path: kept }) });
  if (sum.left === 0) note(`Written to Redis: ${many(sum.written, 'entry')}.`);
  const isLeft = isAnyLeft(dir, orphans);
  return kept === undefined && unknown.length === 0 && !isLeft ? EXIT.done : EXIT.jobFailed;
}

function namesOf(folders: readonly FolderStatus[], wanted: FolderStatus['owner']): string[] {
  return folders.filter(({ owner }) => owner === wanted).map(({ replica }) => replica);
}

/** Whether one of them could not be taken over. Why was told then. */
function isAnyLeft(dir: string, orphans: readonly FolderStatus[]): boolean {
  const replicas = new Set(orphans.map(({ replica }) => replica));
  return journalStatus(dir).some(
    ({ replica, owner, jobs, outcomes, unreadable }) =>
      replicas.has(replica) &&
      owner === 'none' &&
      (jobs + outcomes > 0 || unreadable !== undefined),
  );
}

/**
 * By the names of replicas, where entries are until Redis has them: all in a folder of this command, so that the
 * replicas can start meanwhile; on a disk without room for that copy each where it is, one after the other.
 */
function placesFor(dir: string, orphans: readonly FolderStatus[]): string[] {
  const bytes = orphans.reduce((sum, folder) => sum + folder.bytes, 0);
  const hasRoom = freeBytes(dir) >= COPY_FACTOR * bytes + COPY_BYTES_MIN;
  return hasRoom ? [OWN_PLACE] : orphans.map(({ replica }) => replica);
}

/**
 * Writes to Redis what is in one place, and in this command's own what nobody owns.
 * @throws NothingReachableError, JournalError, JournalFullError
 */
async function drain(config: Config, place: string, giveUpAt: number): Promise<End> {
  // The entries live there until Redis has them.
  const journal = await openJournal({
    ...config.resilience.journal,
    mode: 'disk',
    replica: place,
    clock: systemClock,
    log: { warn: () => {}, error: noteUnlessFull },
  });
  if (place === OWN_PLACE) await journal.adoptOrphans();
  // Each where it is: there is no room for a second copy.
  else journal.adoptOrphans = async () => [];
  const before = journal.stats();
  const count = before.entries + before.refused;
  // Nobody waits here for a server that might lose its last moments.
  const resilience = { ...config.resilience, rollbackWindowMs: 0 };
  const target = new ResilientTarget({
    config: { ...config, resilience },
    log: pino({ level: 'silent' }),
    journal,
  });
  try {
    await target.start();
    while (journal.stats().entries > 0 && systemClock.now() < giveUpAt) await pause();
    const { entries: left, refused } = journal.stats();
    if (left > 0 && target.state().breaker !== 'closed') {
      throw new NothingReachableError([
        `Redis: ${target.state().condition ?? 'no answer'}; ${many(left, 'entry')} kept in ${journal.path}`,
      ]);
    }
    return { written: count - left - refused, left, refused, path: journal.path ?? place };
  } finally {
    await target.stop(systemClock.now() + STOP_MS);
    await journal.close();
  }
}

/** That it takes nothing is nothing to this command, which appends nothing. */
function noteUnlessFull(fields: object, message: string): void {
  if ((fields as { event?: string }).event !== 'journal.refuses') note(message);
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    systemClock.after(LOOK_MS, resolve);
  });
}
