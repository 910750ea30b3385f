/**
 * The journal's table in SQLite: what is written in which transaction. Synchronous, for the
 * journal's own thread. Every write is on disk (WAL, synchronous=FULL) when its call returns; a
 * failed write leaves what was there. Knows nothing of locks, damage or other replicas.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { COLUMNS, Rows } from './database-rows.ts';
import { checksum, type Packed, type Position, type Row } from './entry.ts';
import { full, isFull } from './fault.ts';
import { type Folder, fileIdentity } from './folder.ts';
import { Space } from './space.ts';

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

/** Entries of one kind within a stretch of positions. */
interface Tally extends Pick<Row, 'type' | 'refusal' | 'bytes'> {
  entries: number;
}

/** Positions as stretches without gaps: what was appended in order is mostly settled in order. */
function stretchesOf(positions: readonly Position[]): { from: Position; to: Position }[] {
  const stretches: { from: Position; to: Position }[] = [];
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
  readonly #folder: Folder;
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
    this.#folder = folder;
    this.#db = new DatabaseSync(folder.database, { timeout: 1_000 });
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
   * Appends in one transaction; returns the first position, the others follow it. Nothing without a reserve: what
   * room there is is needed to settle what is here.
   */
  append(entries: readonly Packed[]): Position {
    this.#space.regainReserve();
    const first = this.#next;
    this.#transaction(() => {
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
    this.#transaction(() => {
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
   * written down with the next write that finds room; a restart before that sees them again.
   */
  remove(positions: readonly Position[]): void {
    const stretches = stretchesOf(positions);
    const gone: Tally[] = [];
    try {
      this.#freeing(() => {
        gone.length = 0;
        for (const { from, to } of stretches) {
          gone.push(...(this.#tally.all(from, to) as unknown as Tally[]));
          this.#delete.run(from, to);
        }
      });
    } catch (error) {
      if (!isFull(error)) throw error;
      gone.length = 0;
      for (const { from, to } of stretches) gone.push(...this.#hide(from, to));
    }
    for (const { type, refusal, bytes, entries } of gone) {
      this.#count({ type, refusal, bytes }, -1, entries);
    }
    const { outcomes, jobs, refused } = this.#counts;
    if (outcomes + jobs + refused === 0 && this.#unwritten.size === 0) this.#space.shrink();
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
      this.#freeing(() => change.run(args, bytes, checksum(changed), row.position));
      this.#count(row, -1);
      this.#count(changed, 1);
    }
    return refused.length;
  }

  /** All in one transaction. */
  mark(positions: readonly Position[], mark: string): void {
    this.#freeing(() => {
      for (const position of positions) {
        const row = this.rows.at(position);
        if (row !== undefined) this.#update({ ...row, mark });
      }
    });
  }

  /** Whether there is room for entries, and for removing them whatever happens on the disk. */
  get hasRoom(): boolean {
    return this.#space.isEnough;
  }

  /**
   * Writes something that is never the same, so that it has to go to the disk.
   * @throws what an entry would meet: also where the next ones would find the disk full
   */
  probe(): void {
    this.#space.regainReserve();
    if (!this.hasRoom) throw full(this.#folder.path);
    this.#transaction(() => {
      this.#db.exec("INSERT OR REPLACE INTO meta VALUES ('probe', hex(randomblob(8)))");
    });
  }

  close(): void {
    this.#db.close();
  }

  #change(position: Position, change: Partial<Pick<Row, 'mark' | 'refusal'>>): void {
    const row = this.rows.at(position);
    if (row === undefined) return;
    const changed = { ...row, ...change };
    this.#freeing(() => this.#update(changed));
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

  /** A write that makes room or adds nothing: may use up the reserve. */
  #freeing(write: () => void): void {
    try {
      this.#transaction(write);
    } catch (error) {
      if (!isFull(error) || !this.#space.giveReserveUp()) throw error;
      this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      this.#transaction(write);
    }
  }

  #transaction(write: () => void): void {
    const unwritten = [...this.#unwritten];
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      for (const position of unwritten) this.#delete.run(position, position);
      write();
      this.#db.exec('COMMIT');
    } catch (error) {
      // SQLite has rolled back by itself after most write errors; then this is refused, rightly.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
    for (const position of unwritten) this.#unwritten.delete(position);
  }

  /** @param row of several entries: their bytes together */
  #count(row: Pick<Row, 'type' | 'refusal' | 'bytes'>, sign: 1 | -1, entries = 1): void {
    if (row.refusal !== '') this.#counts.refused += sign * entries;
    else if (row.type === 'outcome') this.#counts.outcomes += sign * entries;
    else this.#counts.jobs += sign * entries;
    this.#counts.bytes += sign * row.bytes;
  }
}
