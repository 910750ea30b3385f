/**
 * `holdfast journal replay`: takes over every journal that no living process owns, as a service
 * would, and writes it to Redis. Until the last entry is there all of it stays on disk; interrupted,
 * it is taken over by the next. Never touches the journal of a living process.
 */
import pino from 'pino';
import type { Config } from '../config.ts';
import { NothingReachableError } from '../errors.ts';
import { type FolderStatus, putBackRefused } from '../journal/inspect.ts';
import { openJournal } from '../journal/journal.ts';
import { underNewNumber } from '../queue/job-store.ts';
import { ResilientTarget } from '../queue/resilient-target.ts';
import { systemClock } from '../time.ts';
import { EXIT } from './exit-codes.ts';
import { redisOf } from './find-route.ts';
import { many } from './moments.ts';
import { note, print } from './terminal.ts';

const LOOK_MS = 100;
const STOP_MS = 1_500;

export async function replay(
  config: Config,
  folders: readonly FolderStatus[],
  { refused, timeout, json }: { refused?: boolean; timeout: number; json?: boolean },
): Promise<number> {
  const { dir } = config.resilience.journal;
  const isLiving = ({ owner }: FolderStatus): boolean => owner !== 'none';
  const living = folders.filter(isLiving).map(({ replica }) => replica);
  const tell = (found: object): void => {
    if (json) print(JSON.stringify({ ...found, living }, null, 2));
  };
  for (const replica of living) {
    note(`${replica} has a living owner, which replays it itself; left alone.`);
  }
  const orphans = folders.filter((folder) => !isLiving(folder));
  if (refused) {
    for (const { replica } of orphans) {
      const count = putBackRefused(dir, replica, underNewNumber);
      if (count > 0) note(`${replica}: ${many(count, 'refused entry')} back in line.`);
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
    replica: `replay-${process.pid}`,
    clock: systemClock,
    log: { warn: () => {}, error: (_fields, message) => note(message) },
  });
  const adopted = await journal.adoptOrphans();
  const count = adopted.reduce((sum, { entries }) => sum + entries, 0);
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
    if (entries > 0) {
      if (target.state().breaker !== 'closed') {
        throw new NothingReachableError([
          `Redis: ${target.state().condition ?? 'no answer'}; ${many(entries, 'entry')} kept in ${journal.path}`,
        ]);
      }
      tell({ written: count - entries - kept, left: entries, refused: kept, path: journal.path });
      note(`After ${timeout} ms not in Redis, kept in ${journal.path}: ${many(entries, 'entry')}.`);
      return EXIT.jobFailed;
    }
    tell({
      ...{ written: count - kept, left: 0, refused: kept },
      ...(kept > 0 ? { path: journal.path } : {}),
    });
    note(`Written to Redis: ${many(count - kept, 'entry')}.`);
    if (kept > 0) {
      note(`Redis refuses ${kept}, kept in ${journal.path}: holdfast journal list --refused`);
    }
    return kept > 0 ? EXIT.jobFailed : EXIT.done;
  } finally {
    await target.stop(systemClock.now() + STOP_MS);
    await journal.close();
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    systemClock.after(LOOK_MS, resolve);
  });
}
