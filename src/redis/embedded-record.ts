/**
 * What processes on this machine know of the embedded Redis of one data folder: `redis.json` (who
 * it is, where it listens, which services use it) and a lock under which it is started and stopped.
 *
 * A record is believed only while its process lives and names the folder in its title: process ids
 * are used again.
 */
import { readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { EmbeddedRedisError } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { commandLine, isProcessAlive } from '../other-process.ts';

export type EmbeddedKind = 'redis-server' | 'valkey-server' | 'js';

const recordSchema = z.object({
  url: z.string(),
  port: z.number().int(),
  pid: z.number().int().positive(),
  kind: z.enum(['redis-server', 'valkey-server', 'js']),
  /** Services that use it, as `<pid>:<number within the process>`; the last one stops it. */
  users: z.array(z.string()),
});
export type EmbeddedRecord = z.infer<typeof recordSchema>;

/** Starting a server takes a second or two, on a busy machine more; nobody holds the lock longer. */
const LOCK_WAIT_MS = 30_000;
const LOCK_RETRY_MS = 50;

/** The folder in which the server keeps its data; also the mark by which its process is known. */
export function serverFolder(dataDir: string): string {
  const path = join(dataDir, 'redis');
  makeFolder(path, 0o700);
  return realpathSync(path);
}

/** Where the embedded Redis of this data folder listens, if it runs. For the command line. */
export function readEmbeddedAddress(dataDir: string): string | undefined {
  const record = readRecord(dataDir);
  return record !== undefined && isServerAlive(record, dataDir) ? record.url : undefined;
}

/** The record as it stands, or undefined if there is none that can be understood. */
export function readRecord(dataDir: string): EmbeddedRecord | undefined {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(recordPath(dataDir), 'utf8')));
  } catch {
    return undefined;
  }
}

/** Replaces the record in one step, readable for its owner only. */
export function writeRecord(dataDir: string, record: EmbeddedRecord): void {
  const path = recordPath(dataDir);
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, path);
}

export function removeRecord(dataDir: string): void {
  rmSync(recordPath(dataDir), { force: true });
}

/** Whether the recorded process lives and is this data folder's server. */
export function isServerAlive(record: EmbeddedRecord, dataDir: string): boolean {
  return isProcessAlive(record.pid) && commandLine(record.pid).includes(serverFolder(dataDir));
}

/** Those users whose process lives. */
export function liveUsers(users: readonly string[]): string[] {
  return users.filter((user) => isProcessAlive(Number.parseInt(user, 10)));
}

/**
 * Runs `work` while no other process (or part of this one) starts or stops this server.
 * @throws EmbeddedRedisError when the lock is not to be had within `waitMs`
 */
export async function withLock<T>(
  dataDir: string,
  work: () => Promise<T>,
  waitMs: number = LOCK_WAIT_MS,
): Promise<T> {
  makeFolder(dataDir, 0o700);
  // SQLite's file lock: the kernel takes it back when its holder dies, so it is never stale.
  const lock = new DatabaseSync(join(dataDir, 'redis.lock'), { timeout: 0 });
  try {
    const deadline = performance.now() + waitMs;
    while (!tryLock(lock)) {
      if (performance.now() > deadline) {
        throw new EmbeddedRedisError(
          `Another process has been starting or stopping the embedded Redis in ${dataDir} for ${Math.round(waitMs)} ms.`,
          'End that process, or choose another DATA_DIR.',
        );
      }
      await sleep(LOCK_RETRY_MS);
    }
    return await work();
  } finally {
    lock.close();
  }
}

function tryLock(lock: DatabaseSync): boolean {
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return true;
  } catch (error) {
    if (error instanceof Error && /locked|busy/i.test(error.message)) return false;
    throw error;
  }
}

function recordPath(dataDir: string): string {
  return join(dataDir, 'redis.json');
}
