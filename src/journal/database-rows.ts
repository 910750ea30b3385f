/**
 * The rows of the journal's table, to be read: in pages, by a job's id, one by one. None of them is checked
 * here. Rows that are hidden are gone for every reader although the disk still has them.
 */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import {
  type EntryType,
  type Position,
  type RefusedEntry,
  type Row,
  unpackRefused,
} from './entry.ts';

export const COLUMNS = 'position, type, queue, mark, refusal, bytes, crc, origin, head, args';

/** What a page is taken from. */
export interface PageQuery {
  type: EntryType;
  queue: string | undefined;
  after: Position;
  limit: number;
}

/** Where to look for a job. */
export interface FindQuery {
  queue: string;
  jobId: string;
  after: Position;
  limit: number;
}

export interface FoundRow {
  /** Rows that may be the job's. */
  rows: Row[];
  /** Where to go on; undefined at the end. */
  next: Position | undefined;
}

/** A page ends early at this size, so that a page of large entries does not fill the memory. */
const PAGE_BYTES_MAX = 4 * 1024 * 1024;

export class Rows {
  readonly #db: DatabaseSync;
  readonly #hidden: ReadonlySet<Position>;

  constructor(db: DatabaseSync, hidden: ReadonlySet<Position>) {
    this.#db = db;
    this.#hidden = hidden;
  }

  /** Rows in order from `after` on, none of them checked yet. */
  page(query: PageQuery): Row[] {
    const byQueue = query.queue === undefined ? '' : 'AND queue = ?';
    const values: SQLInputValue[] = [query.after, query.type];
    if (query.queue !== undefined) values.push(query.queue);
    const found: Row[] = [];
    let bytes = 0;
    const statement = this.#db.prepare(
      `SELECT ${COLUMNS} FROM entry WHERE position > ? AND type = ? ${byQueue} AND refusal = '' ORDER BY position`,
    );
    for (const row of statement.iterate(...values) as Iterable<unknown>) {
      const stored = row as Row;
      if (this.#hidden.has(stored.position)) continue;
      found.push(stored);
      bytes += stored.args.length;
      if (found.length >= query.limit || bytes >= PAGE_BYTES_MAX) break;
    }
    return found;
  }

  /**
   * Looks for the job of this id among the next `limit` rows of any kind after `after`; the caller
   * checks what is found and goes on.
   */
  find(query: FindQuery): FoundRow {
    const { queue, jobId, after, limit } = query;
    const end = this.#db
      .prepare('SELECT position FROM entry WHERE position > ? ORDER BY position LIMIT 1 OFFSET ?')
      .get(after, limit - 1);
    const next = end === undefined ? undefined : Number(end.position);
    // The head holds the id as JSON text; whether that is the id or the name, `unpack` tells.
    const rows = this.#db
      .prepare(
        `SELECT ${COLUMNS} FROM entry WHERE position > ? AND position <= ?
           AND type = 'job' AND queue = ? AND instr(head, ?) > 0`,
      )
      .all(after, next ?? Number.MAX_SAFE_INTEGER, queue, JSON.stringify(jobId));
    const found = rows as unknown as Row[];
    return { rows: found.filter(({ position }) => !this.#hidden.has(position)), next };
  }

  /** All rows in order, whatever their state; bounded by the journal's own bounds, not read ahead. */
  *all(): Generator<Row> {
    for (const row of this.#db
      .prepare(`SELECT ${COLUMNS} FROM entry ORDER BY position`)
      .iterate()) {
      if (!this.#hidden.has(row.position as number)) yield row as unknown as Row;
    }
  }

  at(position: Position): Row | undefined {
    if (this.#hidden.has(position)) return undefined;
    const row = this.#db.prepare(`SELECT ${COLUMNS} FROM entry WHERE position = ?`).get(position);
    return row as unknown as Row | undefined;
  }

  /** Rows that wait for their replay, in the order asked for; `next`: how many places were looked at. */
  read(positions: readonly Position[]): { rows: Row[]; next: number } {
    const statement = this.#db.prepare(
      `SELECT ${COLUMNS} FROM entry WHERE position = ? AND refusal = ''`,
    );
    const rows: Row[] = [];
    let bytes = 0;
    let next = 0;
    while (next < positions.length && bytes < PAGE_BYTES_MAX) {
      const position = positions[next]!;
      next += 1;
      if (this.#hidden.has(position)) continue;
      const row = statement.get(position) as unknown as Row | undefined;
      if (row === undefined) continue;
      rows.push(row);
      bytes += row.args.length;
    }
    return { rows, next };
  }

  /** Refused entries in order. */
  refused(limit: number): RefusedEntry[] {
    const found: RefusedEntry[] = [];
    for (const row of this.all()) {
      const entry = unpackRefused(row);
      if (entry !== undefined) found.push(entry);
      if (found.length >= limit) break;
    }
    return found;
  }
}
