/**
 * The producer for any Node app: a client with a journal and connections of its own, beside whatever
 * else the app does. Composes what the service composes, without handlers and HTTP.
 */
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Telemetry } from 'bullmq';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { isSetting } from './config-hints.ts';
import { ConfigError, type ConfigProblem } from './errors.ts';
import { openJournal } from './journal/journal.ts';
import { loadConfig } from './load-config.ts';
import { createClient as createBullmqClient } from './queue/bullmq-client.ts';
import type { Client, Left } from './queue/client.ts';
import { ResilientTarget } from './queue/resilient-target.ts';
import { createLogger } from './telemetry/log.ts';
import { systemClock } from './time.ts';

export interface ClientOptions {
  /** URL of the Redis, as REDIS_URL. Default: the environment's. */
  redis?: string;
  /**
   * Folder of the journal, or `memory`, which does not survive the process. Every living process needs
   * a folder below it: `name` tells them apart. Default: `journal` in DATA_DIR.
   */
  journal?: string | 'memory';
  /** Names this process's folder in the journal. Default: `client-<host name>`. */
  name?: string;
  /** `strict`: jobs are written to the journal first, always. Default: normal. */
  durability?: 'normal' | 'strict';
  /** Every call is answered within this time, ms. Default 2,000. */
  enqueueTimeout?: number;
  /** BullMQ's key prefix. Default: `bull`. */
  prefix?: string;
  /** Further settings by the names of their variables, over the environment. */
  settings?: Readonly<Record<string, string>>;
  /** The app's own pino logger. */
  log?: Logger;
  /** BullMQ's telemetry, e.g. of `bullmq-otel`: jobs carry the trace of what added them. */
  telemetry?: Telemetry;
}

/** Closing waits this long for Redis at most, ms. */
const CLOSING_MS = 1500;

/**
 * Resolves when jobs can be accepted, whatever Redis does.
 * @throws ConfigError; JournalError if the folder is in use, not writable, or of a newer format
 */
export async function createClient(options: ClientOptions = {}): Promise<Client> {
  const config = configOf(options);
  const log = options.log ?? createLogger(config);
  const journal = await openJournal({
    ...config.resilience.journal,
    replica: options.name ?? `client-${hostname()}`,
    clock: systemClock,
    log,
  });
  for (const warning of journal.warnings) log.warn({ event: 'journal.warning' }, warning);
  const target = new ResilientTarget({ config, log, journal });
  try {
    await target.start();
  } catch (error) {
    await target.stop(systemClock.now() + CLOSING_MS);
    await journal.close();
    throw error;
  }
  const client = createBullmqClient({
    target,
    prefix: config.redis.prefix,
    jobBytesMax: config.jobBytesMax,
    log,
    telemetry: options.telemetry,
  });
  const closeClient = client.close.bind(client);
  let closing: Promise<Left> | undefined;
  const close = async (): Promise<Left> => {
    await closeClient();
    await target.stop(systemClock.now() + CLOSING_MS);
    // Closing writes what is on its way.
    const { left } = await journal.close();
    const { outcomes, refused } = journal.stats();
    return { jobs: Math.max(0, left - outcomes), refused, path: journal.path };
  };
  return Object.assign(client, {
    close: () => {
      closing ??= close();
      return closing;
    },
  });
}

const OPTIONS: Readonly<Record<keyof ClientOptions, true>> = {
  redis: true,
  journal: true,
  name: true,
  durability: true,
  enqueueTimeout: true,
  prefix: true,
  settings: true,
  log: true,
  telemetry: true,
};

/** What would have no effect, where no compiler looked. */
function mistakesIn(options: ClientOptions): ConfigProblem[] {
  const unknown = Object.keys(options).filter((name) => !(name in OPTIONS));
  const others = Object.keys(options.settings ?? {}).filter((name) => !isSetting(name));
  return [
    ...unknown.map((where) => ({
      where,
      value: 'an option of this name',
      allowed: `createClient has ${Object.keys(OPTIONS).join(', ')}`,
    })),
    ...others.map((name) => ({
      where: `settings.${name}`,
      value: 'a setting of this name',
      allowed: 'they have the names of the variables in docs/configuration.md',
    })),
  ];
}

function configOf(options: ClientOptions): Config {
  const mistakes = mistakesIn(options);
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  const { redis, journal, durability, enqueueTimeout, prefix, settings } = options;
  const overrides: Record<string, string> = { ...settings };
  if (redis !== undefined) overrides.REDIS_URL = redis;
  if (journal === 'memory') overrides.JOURNAL = 'memory';
  else if (journal !== undefined) overrides.JOURNAL_DIR = resolve(journal);
  if (durability !== undefined) overrides.DURABILITY = durability;
  if (enqueueTimeout !== undefined) overrides.ENQUEUE_TIMEOUT = `${enqueueTimeout}ms`;
  if (prefix !== undefined) overrides.QUEUE_PREFIX = prefix;
  return loadConfig({ overrides, isCaller: true }).config;
}
