/**
 * `holdfast journal replay`: takes over every journal that no living process owns, as a service
 * would, and writes it to Redis. Until the last entry is there all of it stays on disk; interrupted,
 * it is taken over by the next. Never touches the journal of a living process.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import type { Config } from '../config.ts';
import {
  type HoldfastError,
  JournalError,
  JournalFullError,
  NothingReachableError,
  RedisUnavailableError,
} from '../errors.ts';
import { freeBytes } from '../journal/file-system.ts';
import { folderOf } from '../journal/folder.ts';
import { type FolderOwner, giveLock, putBackRefused } from '../journal/inspect.ts';
import { openJournal } from '../journal/journal.ts';
import { type DamageReport, sizeOf } from '../journal/rescue.ts';
import { underNewNumber } from '../queue/job-store.ts';
import { ResilientTarget } from '../queue/resilient-target.ts';
import { type ConditionName, conditions } from '../redis/condition-catalogue.ts';
import { systemClock } from '../time.ts';
import { EXIT } from './exit-codes.ts';
import { redisOf } from './find-route.ts';
import { noteUnknown } from './journal-entries.ts';
import { many } from './moments.ts';
import { note, plainLine, print } from './terminal.ts';

const LOOK_MS = 100;
const STOP_MS = 1_500;

/** The name of this command's own place. */
const OWN_PLACE = `replay-${process.pid}`;

/** What a copy of a journal may take on disk: as much again for the log, and the reserve. */
const COPY_FACTOR = 2;
const COPY_BYTES_MIN = 4 * 1024 * 1024;

interface ReplayOptions {
  refused?: boolean;
  timeout: number;
  json?: boolean;
}

interface Damage extends DamageReport {
  replica: string;
}

/** What became of the entries of one place. */
interface End {
  written: number;
  left: number;
  /** Redis refuses them; they are kept. */
  refused: number;
  /** Where what is kept is. */
  path: string | undefined;
}

export async function replay(
  config: Config,
  folders: readonly FolderOwner[],
  { refused, timeout, json }: ReplayOptions,
): Promise<number> {
  const { dir } = config.resilience.journal;
  const named = (wanted: FolderOwner['owner']): string[] =>
    folders.filter(({ owner }) => owner === wanted).map(({ replica }) => replica);
  const living = named('living');
  for (const replica of living) {
    note(`${replica} has a living owner, which replays it itself; left alone.`);
  }
  const unknown = folders.filter(noteUnknown).map(({ replica }) => replica);
  const orphans = named('none');
  const troubles = new Troubles();
  const tell = (found: object): void => {
    if (json) print(JSON.stringify({ ...found, living, unknown, ...troubles.told }, null, 2));
  };
  const places = placesFor(dir, orphans);
  for (const replica of orphans) {
    try {
      giveLock(dir, replica);
      if (!refused) continue;
      const { count, damage } = putBackRefused(dir, replica, underNewNumber);
      if (damage !== undefined) troubles.damage(whereItGoes(dir, places, replica, damage));
      if (count > 0) note(`${replica}: ${many(count, 'refused entry')} back in line.`);
    } catch (error) {
      troubles.fail(replica, asOfJournal(error));
    }
  }
  if (orphans.length === 0) {
    note(unknown.length === 0 ? 'There is nothing to replay.' : 'Nothing was replayed.');
    tell({ written: 0, left: 0, refused: 0 });
    return unknown.length === 0 ? EXIT.done : EXIT.jobFailed;
  }
  const redis = redisOf(config);
  if (redis === undefined) {
    throw new NothingReachableError([
      `REDIS_URL: not set; ${config.dataDir}/redis.json: no embedded Redis runs`,
    ]);
  }
  const giveUpAt = systemClock.now() + timeout;
  const sum: End = { written: 0, left: 0, refused: 0, path: undefined };
  for (const place of places) {
    let end: End;
    try {
      end = await drain({ ...config, redis }, place, giveUpAt, troubles);
    } catch (error) {
      if (place === OWN_PLACE) throw error;
      troubles.fail(place, asOfJournal(error));
      continue;
    }
    sum.written += end.written;
    sum.left += end.left;
    sum.refused += end.refused;
    if (end.left + end.refused > 0) sum.path = end.path;
    if (end.left > 0) {
      note(`After ${timeout} ms not in Redis, kept in ${end.path}: ${many(end.left, 'entry')}.`);
      break;
    }
    if (end.refused > 0) {
      note(`Redis refuses ${end.refused}, kept in ${end.path}: holdfast journal list --refused`);
    }
  }
  tell(sum);
  if (sum.left === 0) note(`Written to Redis: ${many(sum.written, 'entry')}.`);
  const isAll = sum.path === undefined && unknown.length === 0 && troubles.isNone;
  return isAll ? EXIT.done : EXIT.jobFailed;
}

/** Journals that were damaged, or could not be taken over. */
class Troubles {
  readonly #damaged: Damage[] = [];
  readonly #failed = new Map<string, string>();

  damage(damage: Damage): void {
    this.#damaged.push(damage);
    const { replica, reasons, rescued, quarantine } = damage;
    note(
      `${replica} was damaged (${reasons.join('; ')}): ${many(rescued, 'entry')} rescued, the rest is in ${quarantine}`,
    );
  }

  fail(replica: string, { message }: Error): void {
    if (this.#failed.get(replica) !== message) note(`${replica}: ${plainLine(message)}`);
    this.#failed.set(replica, message);
  }

  get isNone(): boolean {
    return this.#damaged.length === 0 && this.#failed.size === 0;
  }

  get told(): object {
    const failed = [...this.#failed].map(([replica, message]) => ({ replica, message }));
    return { damaged: this.#damaged, failed };
  }
}

/** @throws any other */
function asOfJournal(error: unknown): Error {
  if (error instanceof JournalError || error instanceof JournalFullError) return error;
  throw error;
}

/**
 * By the names of replicas, where entries are until Redis has them: all in a folder of this command, so that the
 * replicas can start meanwhile; on a disk without room for that copy each where it is, one after the other.
 */
function placesFor(dir: string, orphans: readonly string[]): readonly string[] {
  if (orphans.length === 0) return [];
  let bytes = 0;
  for (const replica of orphans) {
    const { database, wal } = folderOf(dir, replica);
    bytes += (sizeOf(database) ?? 0) + (sizeOf(wal) ?? 0);
  }
  return freeBytes(dir) >= COPY_FACTOR * bytes + COPY_BYTES_MIN ? [OWN_PLACE] : orphans;
}

/** An adoption moves what was damaged. */
function whereItGoes(
  dir: string,
  places: readonly string[],
  replica: string,
  damage: DamageReport,
): Damage {
  const moved = { ...damage, quarantine: join(folderOf(dir, OWN_PLACE).path, 'quarantine') };
  return { replica, ...(places.includes(OWN_PLACE) ? moved : damage) };
}

/**
 * Writes to Redis what is in one place, and in this command's own what nobody owns.
 * @throws JournalError, JournalFullError; RedisUnavailableError, NothingReachableError
 */
async function drain(
  config: Config,
  place: string,
  giveUpAt: number,
  troubles: Troubles,
): Promise<End> {
  // The entries live there until Redis has them.
  const journal = await openJournal({
    ...config.resilience.journal,
    mode: 'disk',
    replica: place,
    clock: systemClock,
    log: {
      warn: () => {},
      error: (fields, message) => {
        const { from, err, event, quarantine } = fields as LogFields;
        if (from !== undefined && err !== undefined) troubles.fail(from, err);
        else if (quarantine !== undefined) {
          // Of an adopted one it is told below, with whose it is.
          if (place !== OWN_PLACE) troubles.damage({ replica: place, ...reportIn(quarantine) });
        }
        // To this command, which appends nothing, it is nothing that it takes nothing.
        else if (event !== 'journal.refuses') note(message);
      },
    },
  });
  if (place === OWN_PLACE) {
    for (const { replica, damage } of await journal.adoptOrphans()) {
      if (damage !== undefined) troubles.damage({ replica, ...damage });
    }
  } else {
    // Each where it is: there is no room for a second copy.
    journal.adoptOrphans = async () => [];
  }
  const { entries, refused } = journal.stats();
  const count = entries + refused;
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
    const { entries: left, refused: kept } = journal.stats();
    const { path } = journal;
    if (left > 0 && target.state().breaker !== 'closed') {
      throw awayError(
        target.state().condition as ConditionName | undefined,
        `${many(left, 'entry')} kept in ${path}`,
      );
    }
    return { written: count - left - kept, left, refused: kept, path };
  } finally {
    await target.stop(systemClock.now() + STOP_MS);
    await journal.close();
  }
}

/** Of the journal's lines. */
interface LogFields {
  event?: string;
  /** Whose journal it is, of a dead replica's. */
  from?: string;
  err?: Error;
  quarantine?: string;
}

function reportIn(quarantine: string): DamageReport {
  return JSON.parse(readFileSync(join(quarantine, 'report.json'), 'utf8')) as DamageReport;
}

function awayError(condition: ConditionName | undefined, kept: string): HoldfastError {
  const { meaning, remedy } = conditions[condition ?? 'timeout'];
  return new RedisUnavailableError('replaying', condition ?? 'timeout', undefined, undefined, {
    what: `Redis is away (${condition ?? 'timeout'}): ${meaning}. ${kept}.`,
    remedy: `${remedy} Then run holdfast journal replay again, or start a service with this folder.`,
  });
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    systemClock.after(LOOK_MS, resolve);
  });
}
