/**
 * How single parts are made of the configuration, for the composition root: those that begin with a look
 * at the world and have an end of their own.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { ConfigError } from './errors.ts';
import type { QueueConsumption } from './http/context.ts';
import { type Journal, openJournal } from './journal/journal.ts';
import { makeFolder } from './make-folder.ts';
import type { QueueFigures } from './queue/queue-figures.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from './redis/embedded.ts';
import type { RunningParts } from './running-parts.ts';
import { startTracing, type Tracing } from './telemetry/tracing.ts';
import { systemClock } from './time.ts';
import type { QueueState } from './worker/runtime.ts';

interface Surroundings {
  config: Config;
  log: Logger;
  parts: RunningParts;
}

/**
 * Journal, records and notes lie in it, and each would fail in its own words.
 * @throws ConfigError when nothing can be written there; a full disk is the journal's to judge
 */
export function checkDataDir(dataDir: string): void {
  const probe = join(dataDir, `.writable-${process.pid}`);
  try {
    makeFolder(dataDir, 0o700);
    writeFileSync(probe, '');
    rmSync(probe);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC') return;
    const allowed = `name a folder on a local disk that the service may write to (${code})`;
    throw new ConfigError([{ where: 'DATA_DIR', value: dataDir, allowed }]);
  }
}

/** A Redis that is named is used; else one is brought along, which production refuses before. */
export async function openEmbedded(around: Surroundings): Promise<EmbeddedRedis | undefined> {
  const { config, log, parts } = around;
  const { url, sentinels, clusterNodes } = config.redis;
  if (url !== undefined || sentinels.length > 0 || clusterNodes.length > 0) return undefined;
  const { dataDir, redisServerBin: serverBin } = config;
  const embedded = await startEmbeddedRedis({ dataDir, serverBin, log });
  parts.add('embedded Redis', (deadline) => embedded.stop(deadline));
  return embedded;
}

/** Only where traces are wanted. */
export async function openTracing({ config, parts }: Surroundings): Promise<Tracing | undefined> {
  const { replica, version } = config;
  const { endpoint, serviceName } = config.tracing;
  if (endpoint === undefined) return undefined;
  const tracing = await startTracing({ endpoint, serviceName, version, replica });
  parts.add('traces', (deadline) => tracing.stop(deadline));
  return tracing;
}

/** `onCommit` hears how long each commit took, ms. */
export async function openServiceJournal(
  { config, log, parts }: Surroundings,
  onCommit: (tookMs: number) => void,
): Promise<Journal> {
  const journal = await openJournal({
    ...config.resilience.journal,
    replica: config.replica,
    clock: systemClock,
    log,
    onCommit,
  });
  for (const warning of journal.warnings) log.warn({ event: 'journal.warning' }, warning);
  parts.add('journal', async () => {
    const { left } = await journal.close();
    if (left === 0) return;
    log.warn(
      { event: 'journal.left', entries: left, path: journal.path },
      `${left} entries (jobs, outcomes) are on disk and not in Redis; the next start with this folder writes them`,
    );
  });
  return journal;
}

/** A queue as its worker and Redis see it: the worker of a paused one asks for jobs and is given none. */
export function withPause(state: QueueState, figures: QueueFigures): QueueConsumption {
  if (!state.isConsuming || !figures.isPaused(state.queue)) return state;
  return { ...state, isConsuming: false, reason: 'paused' };
}
