/**
 * One replica's folder, open, and all that can be asked of it: carries requests out one at a time, in
 * order, each before `serve` returns. Runs in the journal's thread; simulations run it without one.
 */
import type { Clock } from '../time.ts';
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
import { asFault, type Fault, unusable } from './fault.ts';
import { fileSystemType, judgeFileSystem } from './file-system.ts';
import { type Folder, folderOf, type Lock, makeBase, own } from './folder.ts';
import { isInPlace, type OpenFolder, reinstate } from './reinstate.ts';
import { openDatabase } from './rescue.ts';
import {
  type Operations,
  packedOf,
  type Reply,
  type Request,
  type Snapshot,
  type ThreadOptions,
} from './thread-protocol.ts';

/** A row that is not what was written, met while running. */
class DamagedRowError extends Error {}

type Say = (reply: Reply) => void;

/**
 * Says whether the folder is ours and open.
 * @returns what then serves requests
 */
export function openStore(options: ThreadOptions, clock: Clock, say: Say): Store | undefined {
  const folder = folderOf(options.base, options.replica);
  let lock: Lock | undefined;
  try {
    makeBase(options.base);
    const verdict = judgeFileSystem(fileSystemType(options.base), folder.path);
    if (verdict.type === 'refuse') {
      throw unusable(
        folder.path,
        `is on a network file system (${verdict.kind}), where locks do not hold`,
        "Put it on a local disk or a block volume; JOURNAL=memory (createClient: journal: 'memory') runs without one.",
      );
    }
    lock = own(folder, options.ownWaitMs, () => say({ type: 'waiting' }));
    const { database, damage } = openDatabase(folder, clock.wall());
    const warnings = verdict.type === 'warn' ? [verdict.warning] : [];
    const fault = roomFault(folder, database);
    const snapshot = snapshotOf(database);
    say({ type: 'opened', id: database.id, snapshot, warnings, damage, fault });
    return new Store(options.replica, folder, { database, lock, taken: 0 }, clock, say);
  } catch (error) {
    lock?.release();
    say({ type: 'not-opened', fault: asFault(error, folder.path) });
    return undefined;
  }
}

/** Why nothing more can be kept, on a disk that is full; tried only where it may be, as all else writes nothing. */
function roomFault(folder: Folder, database: Database): Fault | undefined {
  if (database.hasRoom) return undefined;
  try {
    database.probe();
    return undefined;
  } catch (error) {
    return asFault(error, folder.path);
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

export class Store {
  readonly #replica: string;
  readonly #folder: Folder;
  readonly #open: OpenFolder;
  readonly #clock: Clock;
  readonly #say: Say;

  constructor(replica: string, folder: Folder, open: OpenFolder, clock: Clock, say: Say) {
    this.#replica = replica;
    this.#folder = folder;
    this.#open = open;
    this.#clock = clock;
    this.#say = say;
  }

  serve(request: Request): void {
    const { id } = request;
    const startedAt = this.#clock.now();
    try {
      const value = this.#carryOutInPlace(request);
      const tookMs = this.#clock.now() - startedAt;
      const { database } = this.#open;
      const snapshot: Snapshot =
        request.name === 'close'
          ? { ...database.counts, oldestAt: undefined }
          : snapshotOf(database);
      this.#say({ type: 'done', id, value, tookMs, snapshot });
    } catch (error) {
      const snapshot: Snapshot = { ...this.#open.database.counts, oldestAt: undefined };
      this.#say({ type: 'failed', id, fault: asFault(error, this.#folder.path), snapshot });
    }
  }

  /**
   * As `#carryOut`, in files that are in their place: what is acknowledged must not lie where nobody finds it.
   * Looked at with each commit, and from time to time, as orphans are looked for, and before it is said that
   * entries are taken again.
   */
  #carryOutInPlace(request: Request): unknown {
    if (request.name === 'adopt' || request.name === 'probe') this.#keepInPlace();
    const value = this.#carryOut(request);
    if (request.name !== 'append') return value;
    try {
      this.#keepInPlace();
    } catch (error) {
      const [{ type }] = request.args as Parameters<Operations['append']>;
      this.#open.database.remove(type.map((_, index) => (value as Position) + index));
      throw error;
    }
    return value;
  }

  #keepInPlace(): void {
    if (isInPlace(this.#open)) return;
    const done = reinstate(this.#folder, this.#open, this.#clock.wall());
    this.#say({ type: 'reinstated', ...done });
  }

  /** Where it meets damage, what is sound is rescued and it is tried again. */
  #carryOut(request: Request): unknown {
    const run = () => {
      const operation = this.#operations()[request.name] as (...args: unknown[]) => unknown;
      return operation(...request.args);
    };
    try {
      return run();
    } catch (error) {
      if (!isReadDamage(error) && !(error instanceof DamagedRowError)) throw error;
      const { last } = this.#open.database;
      this.#open.database.close();
      const { database, damage } = openDatabase(this.#folder, this.#clock.wall());
      database.continueAfter(last);
      this.#open.database = database;
      if (damage !== undefined) this.#say({ type: 'damaged', id: database.id, damage });
      return run();
    }
  }

  #operations(): Operations {
    const { database, lock } = this.#open;
    const at = this.#clock.wall();
    return {
      append: (columns) => database.append(packedOf(columns)),
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
      refuse: (position, reason) => database.refuse(position, reason, at),
      refused: (limit) => database.rows.refused(limit),
      adopt: () => {
        database.tidy();
        const adoption = adoptOrphans(this.#folder, database, at);
        const { taken } = this.#open;
        if (taken > 0) {
          adoption.adopted.push({ replica: this.#replica, entries: taken, damage: undefined });
        }
        this.#open.taken = 0;
        return adoption;
      },
      probe: () => database.probe(),
      close: () => {
        database.close();
        lock.release();
      },
    };
  }
}
