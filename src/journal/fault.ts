/**
 * What can go wrong below the journal, as plain data: it crosses from the journal's thread to the
 * caller, where it becomes an error of the catalogue. The only place that reads SQLite's codes.
 */
import { JournalError, JournalFullError } from '../errors.ts';

export type Fault =
  | { type: 'full'; path: string; limit: string; cause: string | undefined }
  | { type: 'unusable'; path: string; what: string; remedy: string; cause: string | undefined };

/** A fault on its way up inside the journal's thread. */
export class FaultError extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.type === 'full' ? fault.limit : fault.what);
    this.fault = fault;
  }
}

export function unusable(path: string, what: string, remedy: string, cause?: unknown): FaultError {
  return new FaultError({
    type: 'unusable',
    path,
    what,
    remedy,
    cause: cause === undefined ? undefined : String(cause),
  });
}

/** No space on the disk. */
export function full(path: string, cause?: unknown): FaultError {
  const text = cause === undefined ? undefined : String(cause);
  return new FaultError({ type: 'full', path, limit: 'no space left on the disk', cause: text });
}

/** The error that callers of the journal see. */
export function toError(fault: Fault): JournalError | JournalFullError {
  return fault.type === 'full'
    ? new JournalFullError(fault.path, fault.limit, fault.cause)
    : new JournalError(fault.path, fault.what, fault.remedy, fault.cause);
}

/** Primary result codes of SQLite, https://www.sqlite.org/rescode.html */
const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;
/** Extended ones: the file ends before the page that is looked for; the index of the log finds no room to grow. */
const SQLITE_IOERR_SHORT_READ = 522;
const SQLITE_IOERR_SHMSIZE = 4874;

function extendedCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === 'number' ? code : undefined;
}

function resultCode(error: unknown): number | undefined {
  const code = extendedCode(error);
  return code === undefined ? undefined : code & 0xff;
}

/** Somebody else holds the database's lock. */
export function isBusy(error: unknown): boolean {
  return resultCode(error) === SQLITE_BUSY;
}

/** What is on disk is not what was written, or less of it. */
export function isDamage(error: unknown): boolean {
  const code = resultCode(error);
  const isShort = extendedCode(error) === SQLITE_IOERR_SHORT_READ;
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB || isShort;
}

/** The file, or one that belongs beside it, is not there and cannot be made, or is somebody else's. */
export function cannotOpen(error: unknown): boolean {
  return resultCode(error) === SQLITE_CANTOPEN;
}

export function isFull(error: unknown): boolean {
  if (error instanceof FaultError) return error.fault.type === 'full';
  return (
    resultCode(error) === SQLITE_FULL ||
    extendedCode(error) === SQLITE_IOERR_SHMSIZE ||
    systemCode(error) === 'ENOSPC'
  );
}

/** `EACCES`, `ENOENT` … of a failed system call. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

const NOT_WRITABLE: ReadonlySet<string> = new Set([
  'EACCES',
  'EROFS',
  'EPERM',
  'ENOTDIR',
  'EEXIST',
  // What Node says of a folder that it could not make on a read-only disk, and of one that was removed.
  'ENOENT',
]);

/** Any error of a write or an open, as a fault that says what to do. */
export function asFault(error: unknown, path: string): Fault {
  if (error instanceof FaultError) return error.fault;
  if (isFull(error)) return full(path, error).fault;
  const code = systemCode(error) ?? '';
  const result = resultCode(error);
  const cannotWrite =
    NOT_WRITABLE.has(code) || result === SQLITE_READONLY || result === SQLITE_CANTOPEN;
  return {
    type: 'unusable',
    path,
    what: `${cannotWrite ? 'cannot be written' : 'failed'}: ${(error as Error).message}`,
    remedy: remedyOf(code, result),
    cause: String(error),
  };
}

function remedyOf(code: string, result: number | undefined): string {
  if (code === 'EMFILE' || code === 'ENFILE') return REMEDY_FILES;
  return result === SQLITE_IOERR ? REMEDY_DISK_FAILS : REMEDY_NOT_WRITABLE;
}

export const REMEDY_NOT_WRITABLE =
  "Name a folder on a local disk that may be written to; JOURNAL=memory (createClient: journal: 'memory') runs without one, and then a crash loses what Redis does not have yet.";

const REMEDY_DISK_FAILS =
  "Look at the disk and at the kernel's log: input/output errors, a file system that went read-only, a limit on the size of files. It is tried again; where the disk had to be mounted anew, start the replica again.";

const REMEDY_FILES =
  'Raise the limit on open files (ulimit -n, LimitNOFILE), or look for what holds so many open.';
