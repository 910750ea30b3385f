/**
 * The journal's table in SQLite: what is written in which transaction. Synchronous, for the
 * journal's own thread. Every write is on disk (WAL, synchronous=FULL) when its call returns; a
 * failed write leaves what was there. Knows nothing of locks, damage or other replicas.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { COLUMNS, Rows } from './database-rows.ts';
import { checksum, type Packed, type Position, type Row } from './entry.ts';
import { isFull } from './fault.ts';
import { type Folder, fileIdentity } from './folder.ts';
import { BUSY_MS, Space } from './space.ts';

export interface Counts {
  outcomes: number;
  jobs: number;
  refused: number;
  bytes: number;
}

/**
 * Frames of the write-ahead log before it is folded into the database: 1 MiB, which the reserve can
 * make room for. SQLite's own 1,000 is faster by a fifth (188,000 against 154,000 entries/s, 100 a
 * commit) and would need a reserve four times as large.
 */
const CHECKPOINT_FRAMES = 256;

/** Stretches that one transaction removes on a full disk: its log has room where the reserve had. */
const ERASE_STRETCHES = 32;

/** Entries that one transaction marks, bytes: a mark of another length writes all of its entry anew. */
const MARK_BYTES = 512 * 1024;

/** Entries of one kind within a stretch of positions. */
interface Tally extends Pick<Row, 'type' | 'refusal' | 'bytes'> {
  entries: number;
}

interface Stretch {
  from: Position;
  to: Position;
}

/** Positions as stretches without gaps: what was appended in order is mostly settled in order. */
function stretchesOf(positions: readonly Position[]): Stretch[] {
  const stretches: Stretch[] = [];
  for (const position of positions.toSorted((a, b) => a - b)) {
    const last = stretches.at(-1);
    if (last !== undefined && position <= last.to + 1) last.to = position;
    else stretches.push({ from: position, to: position });
  }
  return stretches;
}

export class Database {
  /** Names this journal in the origin of entries that another one adopts. */
  readonly id: string;
  readonly #db: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;
  readonly #alter: StatementSync;
  readonly #tally: StatementSync;
  readonly #counts: Counts;
  /** Removed for the callers, but the disk was too full to write that down. */
  readonly #unwritten = new Set<Position>();
  readonly rows: Rows;
  /** Which files are open, by their paths. */
  readonly identities: ReadonlyMap<string, string | undefined>;
  #next: Position;
  /** Adopted entries go in below all others: they are older. */
  #lowest: Position;
  readonly #space: Space;

  constructor(folder: Folder) {
    this.#db = new DatabaseSync(folder.database, { timeout: BUSY_MS });
    this.#db.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = ${CHECKPOINT_FRAMES}`,
    );
    this.rows = new Rows(this.#db, this.#unwritten);
    this.id = String(this.#db.prepare("SELECT value FROM meta WHERE key = 'id'").get()?.value);
    this.#insert = this.#db.prepare(
      `INSERT OR IGNORE INTO entry (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#delete = this.#db.prepare('DELETE FROM entry WHERE position BETWEEN ? AND ?');
    this.#alter = this.#db.prepare(
      'UPDATE entry SET mark = ?, refusal = ?, crc = ? WHERE position = ?',
    );
    this.#tally = this.#db.prepare(
      `SELECT type, iif(refusal = '', '', 'refused') AS refusal, sum(bytes) AS bytes, count(*) AS entries
         FROM entry WHERE position BETWEEN ? AND ? GROUP BY 1, 2`,
    );
    this.#counts = { outcomes: 0, jobs: 0, refused: 0, bytes: 0 };
    let last = 0;
    this.#lowest = 0;
    for (const row of this.rows.all()) {
      this.#count(row, 1);
      last = Math.max(last, row.position);
      this.#lowest = Math.min(this.#lowest, row.position);
    }
    const sequence = this.#db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").get();
    this.#next = Math.max(last, Number(sequence?.seq ?? 0)) + 1;
    // Reading has opened the log.
    const { database, wal } = folder;
    this.identities = new Map([database, wal].map((path) => [path, fileIdentity(path)]));
    this.#space = new Space(folder, this.#db);
  }

  /** Whether whoever opens the journal's files would open those that are open here. Some µs. */
  get isInPlace(): boolean {
    for (const [path, identity] of this.identities) {
      if (fileIdentity(path) !== identity) return false;
    }
    return true;
  }

  /** The highest position that was ever given. */
  get last(): Position {
    return this.#next - 1;
  }

  /** Gives no position up to `last` again: whoever was told of one would take the new entry for it. */
  continueAfter(last: Position): void {
    this.#next = Math.max(this.#next, last + 1);
  }

  get counts(): Readonly<Counts> {
    return this.#counts;
  }

  /**
   * Appends in one transaction; returns the first position, the others follow it.
   */
  append(entries: readonly Packed[]): Position {
    const first = this.#next;
    this.#tidyForReserve();
    this.#space.adding(entries, () => {
      let position = first;
      for (const packed of entries) {
        const { type, queue, mark, head, args, bytes } = packed;
        this.#write({ type, queue, mark, head, args, bytes, position, refusal: '', origin: null });
        position++;
      }
    });
    this.#next = first + entries.length;
    for (const { type, bytes } of entries) this.#count({ type, bytes, refusal: '' }, 1);
    return first;
  }

  /**
   * Takes over entries of another journal, in their order, before all that is here.
   * @returns how many were new
   */
  adopt(rows: readonly Row[], origin: string): number {
    const first = this.#lowest - rows.length;
    const added: Row[] = [];
    this.#tidyForReserve();
    this.#space.adding(rows, () => {
      added.length = 0;
      for (const [index, row] of rows.entries()) {
        const position = first + index;
        const adopted = { ...row, position, origin: row.origin ?? `${origin}/${row.position}` };
        if (this.#write(adopted)) added.push(adopted);
      }
    });
    this.#lowest = first;
    for (const row of added) this.#count(row, 1);
    return added.length;
  }

  /**
   * Removes entries. On a disk without any space left this holds for the running process and is
   * written down as soon as there is room; a restart before that sees them again.
   */
  remove(positions: readonly Position[]): void {
    const stretches = stretchesOf(positions);
    for (const { type, refusal, bytes, entries } of this.#take(stretches)) {
      this.#count({ type, refusal, bytes }, -1, entries);
    }
    const { outcomes, jobs, refused } = this.#counts;
    if (outcomes + jobs + refused === 0 && this.#unwritten.size === 0) this.#space.shrink();
  }

  /** @returns what is gone */
  #take(stretches: readonly Stretch[]): Tally[] {
    const gone: Tally[] = [];
    try {
      if (this.#erase()) {
        this.#space.freeing(() => {
          gone.length = 0;
          for (const { from, to } of stretches) {
            gone.push(...(this.#tally.all(from, to) as unknown as Tally[]));
            this.#delete.run(from, to);
          }
        });
        return gone;
      }
    } catch (error) {
      if (!isFull(error)) throw error;
    }
    const hidden = stretches.flatMap(({ from, to }) => this.#hide(from, to));
    this.#erase();
    return hidden;
  }

  /** Entries of a stretch that are gone for the callers, but not from the disk. */
  #hide(from: Position, to: Position): Tally[] {
    const rows = this.#db
      .prepare('SELECT position, type, refusal, bytes FROM entry WHERE position BETWEEN ? AND ?')
      .all(from, to) as unknown as Row[];
    const hidden = rows.filter(({ position }) => !this.#unwritten.has(position));
    for (const { position } of hidden) this.#unwritten.add(position);
    return hidden.map(({ type, refusal, bytes }) => ({ type, refusal, bytes, entries: 1 }));
  }

  /**
   * Removes on the disk what is gone for the callers only, in steps that the reserve has room for.
   * @returns whether nothing of it is left
   */
  #erase(): boolean {
    if (this.#unwritten.size === 0) return true;
    const stretches = stretchesOf([...this.#unwritten]);
    try {
      for (let at = 0; at < stretches.length; at += ERASE_STRETCHES) {
        const some = stretches.slice(at, at + ERASE_STRETCHES);
        this.#space.freeing(() => {
          for (const { from, to } of some) this.#delete.run(from, to);
        });
        for (const { from, to } of some) {
          for (let position = from; position <= to; position++) this.#unwritten.delete(position);
        }
      }
      return true;
    } catch (error) {
      if (!isFull(error)) throw error;
      return false;
    }
  }

  /** Does what a full disk has kept it from: removals that are not written down, and the reserve. */
  tidy(): void {
    this.#erase();
    this.#space.regainReserve();
  }

  #tidyForReserve(): void {
    if (!this.#space.hasReserve) this.tidy();
  }

  /** Keeps an entry apart for a person to look at; it is not replayed any more. */
  refuse(position: Position, reason: string, at: number): void {
    this.#change(position, { refusal: JSON.stringify([reason, at]) });
  }

  /**
   * Puts all refused entries back in line, for a person who has removed what stood in their way.
   * @param renewed what jobs carry from then on
   */
  putBackRefused(renewed: (args: string) => string): number {
    const refused = [...this.rows.all()].filter(({ refusal }) => refusal !== '');
    const change = this.#db.prepare(
      "UPDATE entry SET args = ?, bytes = ?, crc = ?, refusal = '' WHERE position = ?",
    );
    for (const row of refused) {
      const args = row.type === 'job' ? renewed(row.args) : row.args;
      const bytes = row.bytes + Buffer.byteLength(args) - Buffer.byteLength(row.args);
      const changed = { ...row, args, bytes, refusal: '' };
      this.#space.freeing(() => change.run(args, bytes, checksum(changed), row.position));
      this.#count(row, -1);
      this.#count(changed, 1);
    }
    return refused.length;
  }

  /**
   * In their order, as many in a transaction as the log has room for. Never at the cost of the reserve: none of that
   * makes room.
   */
  mark(positions: readonly Position[], mark: string): void {
    for (let from = 0, to = 0; from < positions.length; from = to) {
      this.#space.transaction(() => {
        let bytes = 0;
        for (to = from; to < positions.length && bytes < MARK_BYTES; to += 1) {
          const row = this.rows.at(positions[to]!);
          if (row === undefined) continue;
          this.#update({ ...row, mark });
          bytes += row.bytes;
        }
      });
    }
  }

  /** Whether there is room for entries, and for removing them whatever happens on the disk. */
  get hasRoom(): boolean {
    return this.#space.isEnough;
  }

  /** @throws what an entry would meet: also where the next ones would find the disk full */
  probe(): void {
    this.#tidyForReserve();
    this.#space.probe();
  }

  close(): void {
    this.#db.close();
  }

  #change(position: Position, change: Partial<Pick<Row, 'mark' | 'refusal'>>): void {
    const row = this.rows.at(position);
    if (row === undefined) return;
    const changed = { ...row, ...change };
    this.#space.freeing(() => this.#update(changed));
    this.#count(row, -1);
    this.#count(changed, 1);
  }

  #update(changed: Row): void {
    const { mark, refusal, position } = changed;
    this.#alter.run(mark, refusal, checksum(changed), position);
  }

  /** @returns whether the row was new */
  #write(row: Omit<Row, 'crc'>): boolean {
    const { position, type, queue, mark, refusal, bytes, origin, head, args } = row;
    const crc = checksum(row);
    const { changes } = this.#insert.run(
      position,
      type,
      queue,
      mark,
      refusal,
      bytes,
      crc,
      origin,
      head,
      args,
    );
    return changes === 1;
  }

  /** @param row of several entries: their bytes together */
  #count(row: Pick<Row, 'type' | 'refusal' | 'bytes'>, sign: 1 | -1, entries = 1): void {
    if (row.refusal !== '') this.#counts.refused += sign * entries;
    else if (row.type === 'outcome') this.#counts.outcomes += sign * entries;
    else this.#counts.jobs += sign * entries;
    this.#counts.bytes += sign * row.bytes;
  }
}
