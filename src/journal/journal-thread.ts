/**
 * The journal's own thread: SQLite is synchronous, and a disk that takes 200 ms for an fsync must
 * hold up neither a pulse nor a handler. One request at a time, in order. Has no timers: between
 * requests it waits for the port and costs nothing.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../time.ts';
import { adoptOrphans } from './adopt.ts';
import type { Database } from './database.ts';
import {
  type FoundJob,
  type Head,
  type Kept,
  type Position,
  type Row,
  unpack,
  unpackRefused,
} from './entry.ts';
import { isReadDamage } from './examine.ts';
import { asFault, unusable } from './fault.ts';
import { fileSystemType, judgeFileSystem } from './file-system.ts';
import { folderOf, type Lock, makePrivateFolder, own } from './folder.ts';
import { isInPlace, reinstate, type Store } from './reinstate.ts';
import { openDatabase } from './rescue.ts';
import type {
  Operation,
  Operations,
  Reply,
  Request,
  Snapshot,
  ThreadOptions,
} from './thread-protocol.ts';

const options = workerData as ThreadOptions;
const folder = folderOf(options.base, options.replica);
const say = (reply: Reply) => parentPort?.postMessage(reply);

/** A row that is not what was written, met while running. */
class DamagedRowError extends Error {}

function open(): Store | undefined {
  let lock: Lock | undefined;
  try {
    makePrivateFolder(options.base);
    const verdict = judgeFileSystem(fileSystemType(options.base), folder.path);
    if (verdict.type === 'refuse') {
      throw unusable(
        folder.path,
        `is on a network file system (${verdict.kind}), where locks do not hold`,
        'Put it on a local disk or a block volume; JOURNAL=memory runs without one.',
      );
    }
    lock = own(folder, options.ownWaitMs, () => say({ type: 'waiting' }));
    const { database, damage } = openDatabase(folder, systemClock.wall());
    const warnings = verdict.type === 'warn' ? [verdict.warning] : [];
    say({ type: 'opened', id: database.id, snapshot: snapshotOf(database), warnings, damage });
    return { database, lock, taken: 0 };
  } catch (error) {
    lock?.release();
    say({ type: 'not-opened', fault: asFault(error, folder.path) });
    return undefined;
  }
}

function snapshotOf(database: Database): Snapshot {
  const [first] = database.rows.all();
  const entry = first === undefined ? undefined : unpack(first);
  return { ...database.counts, oldestAt: entry?.at };
}

/** @throws DamagedRowError */
function soundEntry(row: Row): Kept {
  const entry = unpack(row);
  if (entry === undefined) throw new DamagedRowError(`entry ${row.position}`);
  return entry;
}

function headOf(row: Row): Head {
  const { args: _args, ...head } = soundEntry(row);
  return head;
}

function operationsOn(store: Store): Operations {
  const { database } = store;
  return {
    append: (entries) => database.append(entries),
    page: (query) => database.rows.page(query).map(soundEntry),
    heads: (query) => database.rows.page(query).map(headOf),
    read: (positions) => {
      const { rows, next } = database.rows.read(positions);
      return { entries: rows.map(soundEntry), next };
    },
    find: (query) => {
      const { rows, next } = database.rows.find(query);
      const found = rows
        .map((row) => unpackRefused(row) ?? unpack(row))
        .filter((candidate) => candidate?.jobId === query.jobId) as FoundJob[];
      return { entry: found.find(({ reason }) => reason === undefined) ?? found[0], next };
    },
    remove: (positions) => database.remove(positions),
    mark: (positions, mark) => database.mark(positions, mark),
    refuse: (position, reason) => database.refuse(position, reason, systemClock.wall()),
    refused: (limit) => database.rows.refused(limit),
    adopt: () => {
      const adoption = adoptOrphans(folder, database, systemClock.wall());
      const { taken } = store;
      if (taken > 0) {
        adoption.adopted.push({ replica: options.replica, entries: taken, damage: undefined });
      }
      store.taken = 0;
      return adoption;
    },
    probe: () => database.probe(),
    close: () => {
      database.close();
      store.lock.release();
    },
  };
}

/** Carries a request out; where it meets damage, what is sound is rescued and it is tried again. */
function carryOut(store: Store, request: Request): unknown {
  const run = () => {
    const operation = operationsOn(store)[request.name] as (...args: unknown[]) => unknown;
    return operation(...request.args);
  };
  try {
    return run();
  } catch (error) {
    if (!isReadDamage(error) && !(error instanceof DamagedRowError)) throw error;
    const { last } = store.database;
    store.database.close();
    const { database, damage } = openDatabase(folder, systemClock.wall());
    database.continueAfter(last);
    store.database = database;
    if (damage !== undefined) say({ type: 'damaged', id: database.id, damage });
    return run();
  }
}

/**
 * As `carryOut`, in files that are in their place: what is acknowledged must not lie where nobody finds it.
 * Looked at with each commit, and from time to time, as orphans are looked for.
 */
function carryOutInPlace(store: Store, request: Request): unknown {
  if (request.name === 'adopt') keepInPlace(store);
  const value = carryOut(store, request);
  if (request.name !== 'append') return value;
  try {
    keepInPlace(store);
  } catch (error) {
    const [entries] = request.args as Parameters<Operations['append']>;
    store.database.remove(entries.map((_, index) => (value as Position) + index));
    throw error;
  }
  return value;
}

function keepInPlace(store: Store): void {
  if (isInPlace(store)) return;
  say({ type: 'reinstated', ...reinstate(folder, store, systemClock.wall()) });
}

function serve(store: Store, request: Request<Operation>): void {
  const { id } = request;
  const startedAt = systemClock.now();
  try {
    const value = carryOutInPlace(store, request);
    const tookMs = systemClock.now() - startedAt;
    const snapshot: Snapshot =
      request.name === 'close'
        ? { ...store.database.counts, oldestAt: undefined }
        : snapshotOf(store.database);
    say({ type: 'done', id, value, tookMs, snapshot });
  } catch (error) {
    const snapshot: Snapshot = { ...store.database.counts, oldestAt: undefined };
    say({ type: 'failed', id, fault: asFault(error, folder.path), snapshot });
  }
}

const store = open();
if (store === undefined) parentPort?.close();
else parentPort?.on('message', (request: Request) => serve(store, request));
