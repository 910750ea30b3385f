/**
 * Keeps outage records on disk, so that they survive a crash in the middle of an outage. Off the hot
 * path: `keep` only notes that there is something to write. Each file is replaced in one step; number
 * and bytes are bounded, the oldest go first. A disk that does not take them is told once and never
 * hurts the work.
 */
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { commandLine } from '../other-process.ts';
import type { Clock } from '../time.ts';
import { fileNameOf, outageFiles, readOutages, type StoredOutage } from './archive.ts';
import type { OutageRecord } from './record.ts';

/** Records in the folder, of all replicas that share it. */
const RECORDS_MAX = 200;
/** All files together. */
const BYTES_MAX = 4 * 1024 * 1024;
/** Records that are waiting to be written: more outages than this do not begin while a disk hangs. */
const WAITING_MAX = 50;

export interface OutageStoreOptions {
  dir: string;
  replica: string;
  version: string;
  clock: Clock;
  log: { warn(fields: object, message: string): void };
  /** Other bounds, for tests. */
  recordsMax?: number;
  bytesMax?: number;
}

export class OutageStore {
  readonly name = 'outage records';
  readonly #options: OutageStoreOptions;
  readonly #owner: Pick<StoredOutage, 'replica' | 'version' | 'host' | 'pid' | 'commandLine'>;
  /** What is to be written, by id; the latest of each. */
  readonly #waiting = new Map<string, { record: OutageRecord }>();
  /** Files that this process has made. */
  readonly #made = new Set<string>();
  #writing: Promise<void> | undefined;
  #isTold = false;

  constructor(options: OutageStoreOptions) {
    this.#options = options;
    this.#owner = {
      replica: options.replica,
      version: options.version,
      host: hostname(),
      pid: process.pid,
      commandLine: commandLine(process.pid),
    };
  }

  /** Marks what a former process of this replica left open: its name is ours now. */
  async start(): Promise<void> {
    const { dir, replica } = this.#options;
    try {
      const { outages } = await readOutages(dir);
      for (const outage of outages) {
        const isOpen = outage.endedAt === undefined && outage.stoppedAt === undefined;
        if (!isOpen || outage.interrupted || outage.replica !== replica) continue;
        await this.#replace(fileNameOf(outage), { ...outage, interrupted: true });
      }
    } catch (error) {
      this.#tell(error);
    }
  }

  async stop(): Promise<void> {
    await this.flush();
  }

  /** The record has changed; it is written soon. */
  keep(record: OutageRecord): void {
    if (!this.#waiting.has(record.id) && this.#waiting.size >= WAITING_MAX) return;
    this.#waiting.set(record.id, { record });
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Resolves when everything that was to be kept is on disk, or could not be written. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  /** All records, newest first: of the disk, and what it has not taken. */
  async list(): Promise<StoredOutage[]> {
    const { outages } = await readOutages(this.#options.dir).catch(() => ({ outages: [] }));
    const waiting = [...this.#waiting.values()].map(({ record }) => this.stored(record));
    const ids = new Set(waiting.map(({ id }) => id));
    return [...waiting, ...outages.filter(({ id }) => !ids.has(id))].sort(
      (a, b) => b.startedAt - a.startedAt,
    );
  }

  /** A record as it is written. */
  stored(record: OutageRecord): StoredOutage {
    const { clock } = this.#options;
    return {
      format: 1,
      ...this.#owner,
      updatedAt: clock.wall(),
      interrupted: false,
      ...structuredClone(record),
    };
  }

  async #write(): Promise<void> {
    // Changes of the same moment become one write.
    await new Promise((resolve) => setImmediate(resolve));
    for (let next = this.#next(); next; next = this.#next()) {
      const { record } = next;
      try {
        const file = fileNameOf(record);
        await this.#replace(file, this.stored(record));
        if (!this.#made.has(file)) {
          this.#made.add(file);
          await this.#prune(file);
        }
      } catch (error) {
        // The next change, or summary, tries again.
        this.#tell(error);
        return;
      }
      this.#isTold = false;
      // What came in meanwhile is a later state of the same record.
      if (this.#waiting.get(record.id) === next) this.#waiting.delete(record.id);
    }
  }

  #next(): { record: OutageRecord } | undefined {
    return this.#waiting.values().next().value;
  }

  async #replace(file: string, stored: StoredOutage): Promise<void> {
    const { dir } = this.#options;
    const path = join(dir, file);
    const draft = `${path}.${process.pid}.new`;
    await mkdir(dir, { recursive: true, mode: 0o700 });
    try {
      await using handle = await open(draft, 'w', 0o600);
      await handle.writeFile(`${JSON.stringify(stored, null, 2)}\n`);
      await handle.sync();
    } catch (error) {
      await rm(draft, { force: true }).catch(() => undefined);
      throw error;
    }
    await rename(draft, path);
  }

  async #prune(newest: string): Promise<void> {
    const { dir, recordsMax = RECORDS_MAX, bytesMax = BYTES_MAX } = this.#options;
    let bytes = 0;
    let kept = 0;
    for (const file of (await outageFiles(dir)).reverse()) {
      const size = await stat(join(dir, file)).then(
        (found) => found.size,
        () => 0,
      );
      if (file !== newest && (kept >= recordsMax || bytes + size > bytesMax)) {
        await rm(join(dir, file), { force: true });
        this.#made.delete(file);
        continue;
      }
      kept += 1;
      bytes += size;
    }
  }

  #tell(error: unknown): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#options.log.warn(
      { event: 'outage.not_kept', err: error, path: this.#options.dir },
      `records of outages cannot be written to ${this.#options.dir}; the log tells them still`,
    );
  }
}
