/**
 * The Redis that Holdfast brings along when REDIS_URL is not set: a real redis-server or
 * valkey-server on loopback, with an append-only file in the data folder, or as a last resort one
 * in JavaScript that forgets everything.
 *
 * One server per data folder, whoever started it: a second service shares it, one that outlived
 * its service (SIGKILL) is adopted, one that dies is brought back with its data by whichever
 * service sees it first, and the last service that leaves stops it.
 */

import { EmbeddedRedisError } from '../errors.ts';
import { choosePort, end, HOST, kindOf, launch } from './embedded-process.ts';
import {
  type EmbeddedKind,
  type EmbeddedRecord,
  isServerAlive,
  liveUsers,
  readRecord,
  removeRecord,
  serverFolder,
  withLock,
  writeRecord,
} from './embedded-record.ts';
import { lookForServer } from './server-bin.ts';

export { readEmbeddedAddress } from './embedded-record.ts';

export interface EmbeddedLog {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
}

export interface EmbeddedOptions {
  dataDir: string;
  /** A server binary (REDIS_SERVER_BIN); otherwise one is looked for on the PATH and in the cache. */
  serverBin: string | undefined;
  log: EmbeddedLog;
  /** `js` takes the fallback even where a real server is at hand. */
  kind?: 'js';
  /** Taken if nobody listens there; default 6379, so that plain `new Queue('faq')` works. */
  preferredPort?: number;
}

const DEFAULT_PORT = 6379;
/** How soon a dead server is noticed when it is not our own child, ms. */
const WATCH_INTERVAL_MS = 500;
/** The pace of bringing it back, ms: at once, then doubling. */
const RESTART_BASE_MS = 100;
const RESTART_CAP_MS = 10_000;
/** A server that lived this long had a good start: the next restart is quick again, ms. */
const STABLE_AFTER_MS = 30_000;
/** A restart that keeps failing is logged at its first and then at every tenth try. */
const LOG_EVERY = 10;

let startsInThisProcess = 0;

/**
 * Finds, adopts or starts the embedded Redis of a data folder, and looks after it until `stop`.
 * @throws EmbeddedRedisError when it does not come up
 */
export async function startEmbeddedRedis(options: EmbeddedOptions): Promise<EmbeddedRedis> {
  const embedded = new EmbeddedRedis(options);
  await embedded.start();
  return embedded;
}

export class EmbeddedRedis {
  readonly #options: EmbeddedOptions;
  readonly #user = `${process.pid}:${++startsInThisProcess}`;
  readonly #listeners = new Set<() => void>();
  #record: EmbeddedRecord | undefined;
  #watch: NodeJS.Timeout | undefined;
  #isReviving = false;
  #upSince = 0;
  #failures = 0;
  #stopped: Promise<void> | undefined;
  readonly #stopping = new AbortController();

  /** Use `startEmbeddedRedis`. */
  constructor(options: EmbeddedOptions) {
    this.#options = options;
  }

  /** Stays the same over restarts. */
  get url(): string {
    return this.#current.url;
  }

  get kind(): EmbeddedKind {
    return this.#current.kind;
  }

  get pid(): number {
    return this.#current.pid;
  }

  /** Whether its data survives its own death. */
  get durable(): boolean {
    return this.#current.kind !== 'js';
  }

  /** Called each time the server was brought back. Returns a function that ends this. */
  onRestart(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Use `startEmbeddedRedis`. */
  async start(): Promise<void> {
    const { log } = this.#options;
    const verb = await this.#ensure();
    const { url, kind, pid } = this.#current;
    log.info(
      { event: 'embedded.ready', url, kind, pid },
      `Embedded Redis ${verb}: ${url} (${kind})`,
    );
    if (!this.durable) {
      log.warn(
        { event: 'embedded.not_durable', kind },
        'No redis-server found: jobs are kept in memory only, at about 100 jobs/s. Install redis-server, or set REDIS_URL.',
      );
    }
    this.#watch = setInterval(() => this.#look(), WATCH_INTERVAL_MS);
  }

  /**
   * Leaves the server, and ends it if no other service uses it, by `deadline` (monotonic, ms).
   * Idempotent. To be called last, when no client needs it any more.
   */
  stop(deadline: number): Promise<void> {
    this.#stopped ??= this.#leave(deadline);
    return this.#stopped;
  }

  async #leave(deadline: number): Promise<void> {
    clearInterval(this.#watch);
    this.#stopping.abort();
    if (this.#record === undefined) return;
    const { dataDir, log } = this.#options;
    const leave = async (): Promise<void> => {
      const record = readRecord(dataDir);
      if (record === undefined) return;
      const users = liveUsers(record.users).filter((user) => user !== this.#user);
      if (users.length > 0) return writeRecord(dataDir, { ...record, users });
      if (isServerAlive(record, dataDir)) await end(record.pid, deadline);
      removeRecord(dataDir);
    };
    try {
      // A restart that is under way holds the lock: it is waited for as long as there is time.
      await withLock(dataDir, leave, deadline - performance.now());
    } catch (error) {
      const message = 'The embedded Redis was left running; the next start adopts it.';
      log.warn({ event: 'embedded.left', err: error }, message);
    }
  }

  /** Sees to it that a server runs and that we are counted among its users. */
  #ensure(): Promise<'shared' | 'started'> {
    const { dataDir } = this.#options;
    return withLock(dataDir, async () => {
      // A stop that came while we waited for the lock has done its part: start nothing after it.
      this.#stopping.signal.throwIfAborted();
      const known = readRecord(dataDir);
      const users = [...new Set([...liveUsers(known?.users ?? []), this.#user])];
      if (known !== undefined && isServerAlive(known, dataDir)) {
        this.#record = { ...known, users };
        writeRecord(dataDir, this.#record);
        this.#upSince = performance.now();
        return 'shared';
      }
      // While there are clients, the port that they know.
      const inUse = this.#record ?? (users.length > 1 ? known : undefined);
      const port = inUse?.port ?? (await choosePort(this.#options.preferredPort ?? DEFAULT_PORT));
      const bin = this.#findServer();
      const kind = kindOf(bin);
      const child = await launch({ kind, bin, folder: serverFolder(dataDir), port });
      child.once('exit', () => this.#look());
      this.#record = { url: `redis://${HOST}:${port}`, port, pid: child.pid ?? 0, kind, users };
      writeRecord(dataDir, this.#record);
      this.#upSince = performance.now();
      return 'started';
    });
  }

  #findServer(): string | undefined {
    const { kind, serverBin, log } = this.#options;
    if (kind === 'js') return undefined;
    const { path, tooOld } = lookForServer(serverBin);
    if (path === undefined && serverBin) {
      throw new EmbeddedRedisError(
        tooOld.length > 0
          ? `${tooOld.join(', ')} is older than 6.2, the first version that the embedded Redis can be.`
          : `There is no server to execute at ${serverBin}.`,
        'Correct REDIS_SERVER_BIN, or remove it to use what is on the PATH.',
        { data: { path: serverBin } },
      );
    }
    if (tooOld.length > 0) {
      log.warn(
        { event: 'embedded.passed_over', servers: tooOld },
        `Passed over, since older than 6.2: ${tooOld.join(', ')}.`,
      );
    }
    return path;
  }

  #look(): void {
    if (this.#stopping.signal.aborted || this.#isReviving) return;
    if (isServerAlive(this.#current, this.#options.dataDir)) return;
    this.#isReviving = true;
    // Never rejects: each failure is logged and tried again.
    void this.#revive().finally(() => {
      this.#isReviving = false;
    });
  }

  async #revive(): Promise<void> {
    const { log } = this.#options;
    const { pid } = this.#current;
    if (performance.now() - this.#upSince > STABLE_AFTER_MS) this.#failures = 0;
    log.warn({ event: 'embedded.died', pid }, 'The embedded Redis died; it is started again.');
    while (!this.#stopping.signal.aborted) {
      const backoffMs = RESTART_BASE_MS * (2 ** this.#failures - 1);
      this.#failures++;
      await pause(Math.min(RESTART_CAP_MS, backoffMs), this.#stopping.signal);
      if (this.#stopping.signal.aborted) return;
      try {
        await this.#ensure();
        log.info({ event: 'embedded.restarted', pid: this.pid }, 'The embedded Redis is back.');
        for (const listener of this.#listeners) listener();
        return;
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        if (this.#failures % LOG_EVERY === 1) {
          const fields = { event: 'embedded.restart_failed', err: error, tries: this.#failures };
          log.warn(fields, 'The embedded Redis does not come back yet.');
        }
      }
    }
  }

  get #current(): EmbeddedRecord {
    if (this.#record === undefined) throw new Error('The embedded Redis was not started.');
    return this.#record;
  }
}

/** Resolves after `ms`, or at once when the signal is aborted. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
