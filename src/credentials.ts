/**
 * Secrets that somebody changes while the service runs: read again when one of their files changes, or
 * when the process is told to (SIGHUP). Nothing is stopped for it: connections to Redis stay as they are
 * and the next one uses what the files say (`redis/options.ts`); whether Redis would take it is tried at
 * once on a connection of its own, so that a mistake is in the log before it hurts.
 */
import { statSync } from 'node:fs';
import type { Logger } from 'pino';
import type { Config, RedisConfig } from './config.ts';
import type { Part } from './part.ts';
import { isSameAddress } from './redis/address.ts';
import { conditionOf } from './redis/conditions.ts';
import { createRedisClient } from './redis/connect.ts';
import { within } from './within.ts';

export interface CredentialsOptions {
  config: Config;
  /** Reads the configuration again; undefined when it was given as an object. */
  load: (() => Config) | undefined;
  /** Takes the tokens of a new configuration. @throws HoldfastError, and keeps the old ones */
  renewTokens(config: Config): void;
  log: Logger;
  /** How often the files are looked at, ms; for tests. */
  lookEveryMs?: number;
}

/** Files are looked at this often; mounted secrets change by a link, which no watch of a file sees. */
const LOOK_EVERY_MS = 5000;
/** An editor writes in several steps, and certificate and key are two files, ms. */
const SETTLE_MS = 500;
/** The setting of each file of a secret. */
const FILES = {
  urlFile: 'REDIS_URL_FILE',
  passwordFile: 'REDIS_PASSWORD_FILE',
  sentinelPasswordFile: 'REDIS_SENTINEL_PASSWORD_FILE',
} as const;

export class Credentials implements Part {
  readonly name = 'credentials';
  readonly #options: CredentialsOptions;
  #looking: NodeJS.Timeout | undefined;
  /** What the files looked like. */
  #seen = '';
  #timer: NodeJS.Timeout | undefined;
  #reloading: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(options: CredentialsOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { config, lookEveryMs = LOOK_EVERY_MS } = this.#options;
    if (config.secretFiles.length === 0) return;
    this.#seen = this.#look();
    this.#looking = setInterval(() => {
      const seen = this.#look();
      if (seen === this.#seen) return;
      this.#seen = seen;
      this.#soon();
    }, lookEveryMs).unref();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    clearInterval(this.#looking);
    await this.#reloading;
  }

  /** Reads everything again; never fails, says in the log how it went. One after the other. */
  reload(): Promise<void> {
    if (this.#isStopped) return this.#reloading;
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  /** Which files stand behind the names now; a link may lead to another one. */
  #look(): string {
    return this.#options.config.secretFiles
      .map((file) => {
        try {
          const { ino, mtimeMs, size } = statSync(file);
          return `${ino} ${mtimeMs} ${size}`;
        } catch (error) {
          return (error as NodeJS.ErrnoException).code;
        }
      })
      .join('\n');
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.reload(), SETTLE_MS).unref();
  }

  async #reload(): Promise<void> {
    const { config, load, renewTokens, log } = this.#options;
    let fixed: string[] = [];
    try {
      const renewed = load?.();
      if (renewed !== undefined) {
        renewTokens(renewed);
        fixed = changedForGood(config.redis, renewed.redis);
      }
    } catch (error) {
      const text = 'the new settings are not valid; those that were read before stay';
      log.error({ event: 'credentials.refused', err: error }, text);
      return;
    }
    if (fixed.length > 0) {
      log.warn(
        { event: 'credentials.restart_needed', settings: fixed },
        `${fixed.join(', ')} changed: that needs a restart; until then what was read at the start is used`,
      );
    }
    // The present configuration, as the next connection has it: its files are read at each connect.
    const refusal = await tryRedis(config);
    if (refusal === undefined) {
      log.info({ event: 'credentials.reloaded' }, 'secrets were read again, and Redis takes them');
      return;
    }
    log.error(
      { event: 'credentials.refused', condition: conditionOf(refusal), err: refusal },
      'Redis does not take what the files say now; open connections go on',
    );
  }
}

/**
 * Settings of the way to Redis that are not what they were, and that no connection will ask for again:
 * another server, or a secret that stands in no file.
 */
function changedForGood(before: RedisConfig, now: RedisConfig): string[] {
  const changed: string[] = [];
  const note = (name: string, isChanged: boolean): void => {
    if (isChanged) changed.push(name);
  };
  const differs = (...names: (keyof RedisConfig)[]): boolean =>
    names.some((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]));
  // Without a URL in the configuration the present one is that of the Redis that was brought along.
  if (now.url !== undefined && before.url !== undefined) {
    const isElsewhere = !isSameAddress(before.url, now.url);
    note('REDIS_URL', isElsewhere || (now.urlFile === undefined && differs('url')));
  }
  note('REDIS_SENTINELS', differs('sentinels'));
  note('REDIS_SENTINEL_NAME', differs('sentinelName'));
  note('REDIS_SENTINEL_USERNAME', differs('sentinelUsername'));
  note(
    'REDIS_SENTINEL_PASSWORD',
    now.sentinelPasswordFile === undefined && differs('sentinelPassword'),
  );
  note('REDIS_CLUSTER_NODES', differs('clusterNodes'));
  note('REDIS_USERNAME', differs('username'));
  note('REDIS_PASSWORD', now.passwordFile === undefined && differs('password'));
  note('REDIS_DB', differs('db'));
  note('REDIS_TLS', differs('tls') && before.urlFile === undefined);
  const paths = ['urlFile', 'passwordFile', 'sentinelPasswordFile'] as const;
  for (const name of paths) note(FILES[name], differs(name));
  return changed;
}

/** The error of a new connection with the present secrets. */
async function tryRedis({ redis }: Config): Promise<Error | undefined> {
  let seen: Error | undefined;
  const client = createRedisClient(redis, 'probe', {
    name: 'credentials',
    onError: (error) => {
      seen = error;
    },
  });
  try {
    await within(
      client.connect().then(() => client.ping()),
      2 * redis.connectTimeoutMs,
      'trying the new credentials',
    );
    return undefined;
  } catch (error) {
    return seen ?? (error as Error);
  } finally {
    client.disconnect();
  }
}
