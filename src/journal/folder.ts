/**
 * A replica's folder: its layout on disk, who may read it, and whose it is. Ownership is an
 * exclusive lock that SQLite holds on a file of its own and that the kernel takes back at the
 * process' death, however it dies. Never a pid: containers repeat them.
 *
 * Never open a lock file with `node:fs`: closing it again would drop this process' lock (POSIX).
 */
import { chmodSync, closeSync, existsSync, openSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { makeFolder } from '../make-folder.ts';
import { Patience, unmarkAdoption } from './adoption-mark.ts';
import { type FaultError, isBusy, systemCode, unusable } from './fault.ts';

export interface Folder {
  /** The replica's folder. */
  path: string;
  database: string;
  wal: string;
  sharedMemory: string;
  lock: string;
  /** Is there while another replica takes the folder over. */
  adopting: string;
  /** Holds the disk space that removing entries from a full disk needs. */
  reserve: string;
  /** Damaged parts, each in a folder of its own with a report. */
  quarantine: string;
}

/** The folder of `replica` below `base`; any replica name makes a safe folder name. */
export function folderOf(base: string, replica: string): Folder {
  const name = encodeURIComponent(replica).replace(/^\./, '%2E').replaceAll('*', '%2A');
  return layout(join(base, name || '%'));
}

export function layout(path: string): Folder {
  return {
    path,
    database: join(path, 'journal.db'),
    wal: join(path, 'journal.db-wal'),
    sharedMemory: join(path, 'journal.db-shm'),
    lock: join(path, 'lock.db'),
    adopting: join(path, 'adopting'),
    reserve: join(path, 'reserve'),
    quarantine: join(path, 'quarantine'),
  };
}

export function replicaOf(folderName: string): string {
  try {
    return decodeURIComponent(folderName);
  } catch {
    return folderName;
  }
}

/** Makes the base folder if need be. One that is there keeps its mode: it may be shared with others. */
export function makeBase(path: string): void {
  if (makeFolder(path, 0o700)) chmodSync(path, 0o700);
}

/** Makes a folder that only its owner may enter. */
export function makePrivateFolder(path: string): void {
  makeFolder(path, 0o700);
  chmodSync(path, 0o700);
}

/** Makes a file that only its owner may read; SQLite's own files take their mode from it. */
export function makePrivateFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    // An existing file must not be opened here, not even to look: see the header.
    if (systemCode(error) !== 'EEXIST') throw error;
  }
  chmodSync(path, 0o600);
}

/** Tells a file from another one that has its name later; undefined if there is none. */
export function fileIdentity(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && `${stat.dev}/${stat.ino}`;
}

export interface Lock {
  /** Whether the file that is locked is still the one that others would try to lock. */
  readonly isInPlace: boolean;
  release(): void;
}

/**
 * Takes an exclusive lock on `file` (made if absent), or returns undefined if another holds it.
 * @param waitMs how long to wait for it; blocks the calling thread
 */
function lockFile(file: string, waitMs: number): Lock | undefined {
  try {
    makePrivateFile(file);
  } catch (error) {
    throw isOthers(file, error) ? othersFault(file, error) : error;
  }
  const db = new DatabaseSync(file, { timeout: waitMs });
  try {
    // Its rollback journal in memory: a file would need room on a disk that may have none, and nothing is written.
    db.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    if (isBusy(error)) return undefined;
    throw error;
  }
  const identity = fileIdentity(file);
  return {
    get isInPlace() {
      return fileIdentity(file) === identity;
    },
    release: () => db.close(),
  };
}

/** Whether `error` is about a file that is there and that another user has made. */
function isOthers(file: string, error: unknown): boolean {
  const code = systemCode(error);
  if (code !== 'EPERM' && code !== 'EACCES') return false;
  try {
    return statSync(file).uid !== process.geteuid?.();
  } catch {
    return false;
  }
}

function othersFault(file: string, cause: unknown): FaultError {
  return unusable(
    dirname(file),
    `is in use by another user: ${file} is not ours`,
    'Give every user a journal folder of its own (JOURNAL_DIR; `journal` of createClient), or chown this one to the user of the service.',
    cause,
  );
}

/** The gate is held for some milliseconds; this only ends the wait for a process that is frozen. */
const GATE_WAIT_MS = 10_000;

/**
 * Runs `use` while no other process takes or removes a folder below `base`. That is what makes
 * removing a folder safe: nobody can be waiting for a lock file that is just being deleted.
 */
export function throughGate<T>(base: string, use: () => T): T {
  const file = join(base, 'gate.db');
  const gate = lockFile(file, GATE_WAIT_MS);
  if (gate === undefined) {
    throw unusable(
      base,
      `is blocked: a process has held ${file} for ${GATE_WAIT_MS} ms`,
      'Find the process that is frozen while it opens this folder, and end it.',
    );
  }
  try {
    return use();
  } finally {
    gate.release();
  }
}

/** Takes the lock of an existing folder; undefined while a living process has it. */
export function tryOwn(folder: Folder): Lock | undefined {
  return throughGate(dirname(folder.path), () =>
    existsSync(folder.path) ? lockFile(folder.lock, 0) : undefined,
  );
}

/**
 * Whether a living process has an existing folder. Only looks: works also where nothing can be written.
 * @throws where the lock cannot be looked at
 */
export function isOwned(folder: Folder): boolean {
  const db = new DatabaseSync(folder.lock, { readOnly: true });
  try {
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    return false;
  } catch (error) {
    if (isBusy(error)) return true;
    throw error;
  } finally {
    db.close();
  }
}

/** Between two tries; the former owner is most likely a process that is just ending. */
const OWN_RETRY_MS = 50;

/**
 * Makes the folder if need be and takes its lock, waiting up to `waitMs` for the former owner to
 * end, and longer for a replica that is about to take the folder over. Blocks the calling thread.
 * @param onAdoption called once, when the latter is waited for
 * @throws FaultError naming the folder if another process keeps it
 */
export function own(folder: Folder, waitMs: number, onAdoption: () => void = () => {}): Lock {
  const patience = new Patience(folder, waitMs, onAdoption);
  makeBase(dirname(folder.path));
  for (;;) {
    const lock = throughGate(dirname(folder.path), () => {
      makePrivateFolder(folder.path);
      return lockFile(folder.lock, 0);
    });
    if (lock !== undefined) {
      unmarkAdoption(folder);
      return lock;
    }
    if (patience.isOver()) {
      throw patience.isForAdoption
        ? unusable(
            folder.path,
            'is still being taken over by another replica, which makes no progress or is not done in time',
            'Start this replica again; if that repeats, look at the disk. What the folder holds is not lost.',
          )
        : unusable(
            folder.path,
            'is in use by another living process',
            'Give every replica a name of its own (REPLICA; `name` of createClient), or end the other process.',
          );
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, OWN_RETRY_MS);
  }
}

/** Removes the store's files of a folder that we own, and the folder if nothing else is in it. */
export function removeOwned(folder: Folder, lock: Lock): void {
  throughGate(dirname(folder.path), () => {
    const { database, wal, sharedMemory, reserve, adopting } = folder;
    for (const file of [database, wal, sharedMemory, reserve, adopting]) {
      rmSync(file, { force: true });
    }
    // Nobody can take the lock in between: that goes through the gate as well.
    lock.release();
    rmSync(folder.lock, { force: true });
    removeIfEmpty(folder.quarantine);
    removeIfEmpty(folder.path);
  });
}

/** A folder with something left in it (what a person put there) stays. */
function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Not empty or not there: both are fine, removing is tidiness only.
  }
}
