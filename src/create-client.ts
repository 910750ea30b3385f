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
import { type Group, settings } from './settings.ts';
import { createLogger } from './telemetry/log.ts';
import { systemClock } from './time.ts';

export interface ClientOptions {
  /**
   * URL of the Redis, as REDIS_URL, with user, password and database. Default: what the environment says, with
   * REDIS_USERNAME, REDIS_SENTINELS and so on, which do not count where this is given.
   */
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
  /** Every enqueue is answered within this time, and every question of the client's own, ms. Default 2,000. */
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

/** Groups of settings that a client uses. */
const GROUPS: ReadonlySet<Group> = new Set(['Redis', 'Outages', 'Journal', 'Logs']);
/** Those that it uses of other groups. */
const OTHERS = new Set(['DATA_DIR', 'MAX_JOB_BYTES']);
/** Other ways to say where the Redis is, and who asks. */
const PLACE = /^REDIS_(URL|USERNAME|PASSWORD|DB|SENTINEL\w*|CLUSTER_NODES)(_FILE)?$/;

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
    answerMs: config.resilience.enqueueTimeoutMs,
    log,
    telemetry: options.telemetry,
  });
  const closeClient = client.close.bind(client);
  let closing: Promise<Left> | undefined;
  const close = async (): Promise<Left> => {
    // Before anything is closed: a process that ends now may have no next one soon.
    await target.untilClear(config.resilience.enqueueTimeoutMs);
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

/** What each is, where no compiler looked. */
const OPTIONS: Readonly<
  Record<keyof ClientOptions, [is: (value: never) => boolean, what: string]>
> = {
  redis: [isText, 'a URL: redis://user:password@host:6379/0'],
  journal: [isText, "a folder, or 'memory'"],
  name: [isText, 'a name'],
  durability: [isText, "'normal' or 'strict'"],
  enqueueTimeout: [Number.isSafeInteger, 'whole milliseconds'],
  prefix: [isText, 'a text'],
  settings: [
    (value: unknown) =>
      isObject(value) &&
      Object.values(value as object).every((text) => text === undefined || isText(text)),
    'an object of texts, as the environment would hold them',
  ],
  log: [(value: object) => isObject(value) && 'warn' in value, 'a pino logger'],
  telemetry: [
    (value: object) => isObject(value) && 'tracer' in value && 'contextManager' in value,
    "BullMQ's telemetry, such as new BullMQOtel('app')",
  ],
};

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

/** What would have no effect, where no compiler looked. */
function mistakesIn(options: ClientOptions): ConfigProblem[] {
  if (!isObject(options)) {
    const allowed = `expected an object of ${Object.keys(OPTIONS).join(', ')}`;
    return [{ where: 'createClient', value: String(options), allowed }];
  }
  const wrong = Object.entries(OPTIONS).flatMap(([where, [is, what]]) => {
    const value = options[where as keyof ClientOptions];
    if (value === undefined || is(value as never)) return [];
    // Never the value: it may be an address with its password.
    return [{ where, value: `a value of type ${typeof value}`, allowed: `expected ${what}` }];
  });
  if (wrong.length > 0) return wrong;
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
  const { redis, journal, durability, enqueueTimeout, prefix } = options;
  const overrides: Record<string, string> = { ...options.settings };
  if (redis) overrides.REDIS_URL = redis;
  if (journal === 'memory') overrides.JOURNAL = 'memory';
  else if (journal) Object.assign(overrides, { JOURNAL: 'disk', JOURNAL_DIR: resolve(journal) });
  if (durability !== undefined) overrides.DURABILITY = durability;
  if (enqueueTimeout !== undefined) overrides.ENQUEUE_TIMEOUT = `${enqueueTimeout}ms`;
  if (prefix !== undefined) overrides.QUEUE_PREFIX = prefix;
  /** The environment is the app's too, which means something else by LOG_LEVEL or HTTP_PORT. */
  const reads = (variable: string, text: string): boolean => {
    const name = variable.replace(/_FILE$/, '');
    if (redis && PLACE.test(variable)) return false;
    if (options.log && name.startsWith('LOG_')) return false;
    if (name === 'NODE_ENV') return text === 'production';
    const group = (settings[variable] ?? settings[name])?.group;
    return OTHERS.has(name) || (group !== undefined && GROUPS.has(group));
  };
  return loadConfig({ overrides, isCaller: true, reads }).config;
}
