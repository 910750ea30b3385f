/**
 * Reads what can be read out of a damaged database: a working copy, never the original. Returns
 * only rows that carry the checksum of exactly what they say.
 */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { createDatabase, PAGE_BYTES } from './database-file.ts';
import type { Position, Row } from './entry.ts';
import { isReadDamage, readRow, whileReadable } from './examine.ts';

/**
 * Marks from the first to the last that a job can have had. Of two states of one row the later counts: a job that
 * was begun must not be begun again.
 */
const MARKS = ['unsent', 'doubtful', 'sent', 'lingering', 'running'];

/** What was found so far, each row in its latest state. */
export class FoundRows {
  readonly #rows = new Map<Position, Row>();
  readonly #damaged = new Set<Position>();

  take(raw: Record<string, unknown>): void {
    const row = readRow(raw);
    if (row !== undefined) {
      const other = this.#rows.get(row.position);
      if (other === undefined || isLater(row, other)) this.#rows.set(row.position, row);
    } else if (typeof raw.position === 'number') this.#damaged.add(raw.position);
  }

  /** In order. */
  get rows(): Row[] {
    return [...this.#rows.values()].sort((a, b) => a.position - b.position);
  }

  /** Positions of rows that were met in no state that is what was written. */
  get damaged(): Position[] {
    const lost = [...this.#damaged].filter((position) => !this.#rows.has(position));
    return lost.sort((a, b) => a - b);
  }
}

function isLater(row: Row, other: Row): boolean {
  if ((row.refusal === '') !== (other.refusal === '')) return row.refusal !== '';
  return MARKS.indexOf(row.mark) > MARKS.indexOf(other.mark);
}

/** Every row that is provably what was written, out of a database that nothing else is sure of. */
export function collectRows(work: string, template: string, found: FoundRows): void {
  const take: Take = (row) => found.take(row);
  // SQLite removes the log of an empty database: it must not see one.
  if (statSync(work).size === 0) restoreFirstPage(work, template);
  if (readAround(work, take) !== undefined) return;
  restoreFirstPage(work, template);
  readAround(work, take);
}

type Take = (row: Record<string, unknown>) => void;

/** A row's position is read before the row is judged, and then it may be anything. */
const LOWEST = Number.MIN_SAFE_INTEGER;
const HIGHEST = Number.MAX_SAFE_INTEGER;

/** Where to begin when neither end can be read: adopted entries lie below 0, all others above. */
const BEGINNINGS = [-1_000_000, 0];

/** In a tree whose order is spoiled the way between the ends might be endless. */
const STRETCHES_MAX = 1_000;

/** Reads from both ends and then what lies between; undefined if nothing at all can be read. */
function readAround(file: string, take: Take): 'read' | undefined {
  const read = (db: DatabaseSync): 'read' => {
    db.exec('SELECT position FROM entry LIMIT 0');
    const up = stretch(db, 'ASC', LOWEST, take);
    if (up.isWhole) return 'read';
    const down = stretch(db, 'DESC', HIGHEST, take);
    if (down.isWhole) return 'read';
    const high = down.last ?? HIGHEST;
    const beginnings = up.last === undefined ? BEGINNINGS : [up.last];
    for (const from of beginnings) readBetween(db, from, high, take);
    return 'read';
  };
  return whileReadable(file, read, false);
}

/**
 * Feels its way over a damaged stretch with growing steps until something can be read again, takes
 * what follows up to the next damage, and what lies before it down to the last.
 */
function readBetween(db: DatabaseSync, from: Position, high: Position, take: Take): void {
  let step = 1;
  for (let turn = 0; turn < STRETCHES_MAX && from + step < high; turn++) {
    const at = from + step;
    const up = stretch(db, 'ASC', at, take);
    step *= 2;
    if (up.first === undefined || up.last === undefined) continue;
    stretch(db, 'DESC', up.first - 1, take);
    if (up.isWhole) return;
    from = Math.max(at, up.last);
    step = 1;
  }
}

interface Stretch {
  first: Position | undefined;
  last: Position | undefined;
  /** Whether it was read to the end of the table. */
  isWhole: boolean;
}

function stretch(db: DatabaseSync, order: 'ASC' | 'DESC', from: Position, take: Take): Stretch {
  const found: Stretch = { first: undefined, last: undefined, isWhole: false };
  found.isWhole = attempt(() => {
    const compare = order === 'ASC' ? '>=' : '<=';
    const rows = db.prepare(
      `SELECT * FROM entry NOT INDEXED WHERE position ${compare} ? ORDER BY position ${order}`,
    );
    for (const row of rows.iterate(from)) {
      take(row);
      found.first ??= row.position as Position;
      found.last = row.position as Position;
    }
  });
  return found;
}

/** Whether the reading met no damage. */
function attempt(read: () => void): boolean {
  try {
    read();
    return true;
  } catch (error) {
    if (isReadDamage(error)) return false;
    throw error;
  }
}

/**
 * The first page of a journal is the same in all of its format but for the number of pages and the
 * free list, so that a damaged one is replaced by that of a new database.
 */
function restoreFirstPage(file: string, template: string): void {
  createDatabase(template);
  const first = readFileSync(template).subarray(0, PAGE_BYTES);
  const bytes = readFileSync(file);
  const pages = Math.max(1, Math.floor(bytes.length / PAGE_BYTES));
  const restored = Buffer.alloc(pages * PAGE_BYTES);
  bytes.copy(restored);
  first.copy(restored);
  restored.writeUInt32BE(pages, 28);
  restored.fill(0, 32, 40);
  writeFileSync(file, restored);
}
