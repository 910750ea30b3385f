/**
 * `holdfast journal replay`: takes over every journal that no living process owns, as a service
 * would, and writes it to Redis. Until the last entry is there all of it stays on disk; interrupted,
 * it is taken over by the next. Never touches the journal of a living process.
 */
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
import { folderOf } from '../journal/folder.ts';
import { type FolderOwner, giveLock, putBackRefused } from '../journal/inspect.ts';
import { openJournal } from '../journal/journal.ts';
import type { DamageReport } from '../journal/rescue.ts';
import { underNewNumber } from '../queue/job-store.ts';
import { ResilientTarget } from '../queue/resilient-target.ts';
import { type ConditionName, conditions } from '../redis/condition-catalogue.ts';
import { systemClock } from '../time.ts';
import { EXIT } from './exit-codes.ts';
import { redisOf } from './find-route.ts';
import { many } from './moments.ts';
import { note, plainLine, print } from './terminal.ts';

const LOOK_MS = 100;
const STOP_MS = 1_500;

interface Damage extends DamageReport {
  replica: string;
}

export async function replay(
  config: Config,
  folders: readonly FolderOwner[],
  { refused, timeout, json }: { refused?: boolean; timeout: number; json?: boolean },
): Promise<number> {
  const { dir } = config.resilience.journal;
  const isLiving = ({ owner }: FolderOwner): boolean => owner !== 'none';
  const living = folders.filter(isLiving).map(({ replica }) => replica);
  const damaged: Damage[] = [];
  const ourName = `replay-${process.pid}`;
  const failed = new Map<string, string>();
  const tell = (found: object): void => {
    const others = [...failed].map(([replica, message]) => ({ replica, message }));
    if (json) print(JSON.stringify({ ...found, living, damaged, failed: others }, null, 2));
  };
  const fail = (replica: string, { message }: Error): void => {
    if (failed.get(replica) !== message) note(`${replica}: ${plainLine(message)}`);
    failed.set(replica, message);
  };
  for (const replica of living) {
    note(`${replica} has a living owner, which replays it itself; left alone.`);
  }
  const orphans = folders.filter((folder) => !isLiving(folder));
  for (const { replica } of orphans) {
    try {
      giveLock(dir, replica);
      if (!refused) continue;
      const { count, damage } = putBackRefused(dir, replica, underNewNumber);
      if (damage !== undefined) {
        // Where the adoption moves it.
        const quarantine = join(folderOf(dir, ourName).path, 'quarantine');
        damaged.push({ replica, ...damage, quarantine });
      }
      if (count > 0) note(`${replica}: ${many(count, 'refused entry')} back in line.`);
    } catch (error) {
      if (!(error instanceof JournalError || error instanceof JournalFullError)) throw error;
      fail(replica, error);
    }
  }
  if (orphans.length === 0) {
    note('There is nothing to replay.');
    tell({ written: 0, left: 0, refused: 0 });
    return EXIT.done;
  }
  const redis = redisOf(config);
  if (redis === undefined) {
    throw new NothingReachableError([
      `REDIS_URL: not set; ${config.dataDir}/redis.json: no embedded Redis runs`,
    ]);
  }
  // The entries live in a folder of this command until Redis has them.
  const journal = await openJournal({
    ...config.resilience.journal,
    mode: 'disk',
    replica: ourName,
    clock: systemClock,
    log: {
      warn: () => {},
      error: (fields, message) => {
        const { replica, err } = fields as { replica?: string; err?: Error };
        if (replica !== undefined && err !== undefined) fail(replica, err);
        // Damage is told below, with whose it is.
        else if (!('quarantine' in fields)) note(message);
      },
    },
  });
  const adopted = await journal.adoptOrphans();
  const count = adopted.reduce((sum, { entries }) => sum + entries, 0);
  for (const { replica, damage } of adopted) {
    if (damage !== undefined) damaged.push({ replica, ...damage });
  }
  for (const { replica, reasons, rescued, quarantine } of damaged) {
    note(
      `${replica} was damaged (${reasons.join('; ')}): ${many(rescued, 'entry')} rescued, the rest is in ${quarantine}`,
    );
  }
  // Nobody waits here for a server that might lose its last moments.
  const resilience = { ...config.resilience, rollbackWindowMs: 0 };
  const target = new ResilientTarget({
    config: { ...config, redis, resilience },
    log: pino({ level: 'silent' }),
    journal,
  });
  try {
    const giveUpAt = systemClock.now() + timeout;
    await target.start();
    while (journal.stats().entries > 0 && systemClock.now() < giveUpAt) await pause();
    const { entries, refused: kept } = journal.stats();
    const { path } = journal;
    if (entries > 0) {
      if (target.state().breaker !== 'closed') {
        throw awayError(
          target.state().condition as ConditionName | undefined,
          `${many(entries, 'entry')} kept in ${path}`,
        );
      }
      tell({ written: count - entries - kept, left: entries, refused: kept, path });
      note(`After ${timeout} ms not in Redis, kept in ${path}: ${many(entries, 'entry')}.`);
      return EXIT.jobFailed;
    }
    tell({
      ...{ written: count - kept, left: 0, refused: kept },
      ...(kept > 0 ? { path } : {}),
    });
    note(`Written to Redis: ${many(count - kept, 'entry')}.`);
    if (kept > 0) {
      note(`Redis refuses ${kept}, kept in ${path}: holdfast journal list --refused`);
    }
    return kept > 0 || damaged.length > 0 || failed.size > 0 ? EXIT.jobFailed : EXIT.done;
  } finally {
    await target.stop(systemClock.now() + STOP_MS);
    await journal.close();
  }
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
