/** A resilient target for tests: quick pulses, a journal in memory or in a folder of the test's. */
import pino from 'pino';
import type { Config } from '../../src/config.ts';
import { type Journal, openJournal } from '../../src/journal/journal.ts';
import { ResilientTarget } from '../../src/queue/resilient-target.ts';
import { systemClock } from '../../src/time.ts';
import { redisConfig, resilience } from './config.ts';

export interface TestTargetOptions {
  resilience?: Partial<Config['resilience']>;
  /** Instead of a URL alone: TLS, a Cluster. */
  redis?: Partial<Config['redis']>;
  journalDir?: string;
  /** Names the folder in `journalDir`; several targets of one test need several. */
  replica?: string;
  /** Puts something in front of the journal, to make it fail. */
  journal?: (journal: Journal) => Journal;
  quietAfterMs?: number;
  adoptEveryMs?: number;
  log?: pino.Logger;
}

export type TestTarget = ResilientTarget;

/** Starts a target for `url`; resolves at once, whatever Redis does. */
export async function startTarget(
  url: string,
  options: TestTargetOptions = {},
): Promise<TestTarget> {
  const log = options.log ?? pino({ level: process.env.TEST_LOG ?? 'silent' });
  const journal = await openJournal({
    dir: options.journalDir ?? '',
    replica: options.replica ?? `test-${process.pid}`,
    mode: options.journalDir === undefined ? 'memory' : 'disk',
    bytesMax: 64 * 1024 * 1024,
    entriesMax: 100_000,
    clock: systemClock,
    log,
  });
  const { resilience, quietAfterMs, adoptEveryMs } = options;
  const plain = testConfig(url, resilience);
  const config = { ...plain, redis: { ...plain.redis, ...options.redis } };
  const target = new ResilientTarget({
    config,
    log,
    journal: options.journal?.(journal) ?? journal,
    ...(quietAfterMs === undefined ? {} : { quietAfterMs }),
    ...(adoptEveryMs === undefined ? {} : { adoptEveryMs }),
  });
  await target.start();
  const stop = target.stop.bind(target);
  target.stop = async (deadline) => {
    await stop(deadline);
    await journal.close();
  };
  return target;
}

/** Only what a target reads of the configuration. */
export function testConfig(url: string, changes: Partial<Config['resilience']> = {}): Config {
  const journal = { dir: '', bytesMax: 1e9, entriesMax: 1e6, mode: 'memory' };
  return {
    redis: redisConfig({ url, connectTimeoutMs: 3000 }),
    resilience: { ...resilience, journal, ...changes },
  } as unknown as Config;
}
