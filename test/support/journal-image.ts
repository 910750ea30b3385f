/** A journal's files as a killed process leaves them, with entries of every kind, and what they have to give back. */
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Database } from '../../src/journal/database.ts';
import {
  type Entry,
  type JobMark,
  type Position,
  pack,
  type Row,
} from '../../src/journal/entry.ts';
import { type Folder, layout } from '../../src/journal/folder.ts';
import { openDatabase } from '../../src/journal/rescue.ts';
import type { ImageFile } from './journal-damage.ts';
import { jobOfAnySize, outcomeNumber } from './journal-entries.ts';

export interface Image {
  /** Some entries are in the database, some in the log, some settled. */
  folder: Folder;
  /** The files' bytes. */
  whole: Record<ImageFile, Buffer>;
  /** The id of the journal. */
  id: string;
  /** Every state that a row ever had, the last one at the end. */
  written: Map<Position, Row[]>;
  /** Positions that are not settled. */
  live: Set<Position>;
}

/** Writes an image as a replica would, and notes what it wrote. */
class Writer {
  readonly written = new Map<Position, Row[]>();
  readonly live = new Set<Position>();
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  #note(position: Position): void {
    const row = { ...(this.#database.rows.at(position) as Row) };
    this.written.set(position, [...(this.written.get(position) ?? []), row]);
    this.live.add(position);
  }

  append(entries: readonly Entry[]): void {
    const first = this.#database.append(entries.map(pack));
    for (const index of entries.keys()) this.#note(first + index);
  }

  adopt(entries: readonly Entry[]): void {
    const rows = entries.map((entry, index) => ({
      ...pack(entry),
      position: index + 1,
      refusal: '',
      origin: null,
      crc: 0,
    }));
    this.#database.adopt(rows, 'another');
    for (const index of entries.keys()) this.#note(index - entries.length);
  }

  settle(positions: readonly Position[]): void {
    this.#database.remove(positions);
    for (const position of positions) this.live.delete(position);
  }

  mark(positions: readonly Position[], mark: JobMark): void {
    this.#database.mark(positions, mark);
    for (const position of positions) this.#note(position);
  }

  refuse(positions: readonly Position[]): void {
    for (const position of positions) {
      this.#database.refuse(position, 'missing parent', 1_700_000_000_000);
      this.#note(position);
    }
  }
}

/** Five a commit: outcomes and jobs of every mark and size, in no order. */
function appendNumbers(writer: Writer, from: number, to: number): void {
  for (let number = from; number < to; number += 5) {
    writer.append(
      [0, 1, 2, 3, 4].map((i) =>
        i % 2 === 0 ? outcomeNumber(number + i, (number * 37) % 700) : jobOfAnySize(number + i),
      ),
    );
  }
}

export function makeImage(base: string): Image {
  const living = layout(join(base, 'living'));
  mkdirSync(living.path);
  const { database } = openDatabase(living, 1);
  const writer = new Writer(database);
  appendNumbers(writer, 0, 100);
  writer.adopt([jobOfAnySize(200), outcomeNumber(201), jobOfAnySize(202), jobOfAnySize(203)]);
  writer.settle([2, 3, 50, 51, 99]);
  writer.mark([12, 14], 'running');
  writer.refuse([22, 24]);
  const folding = new DatabaseSync(living.database);
  folding.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  folding.close();
  appendNumbers(writer, 100, 140);
  writer.settle([4, 60, 120]);
  writer.mark([7, 9, 32, 34, 102, 104, -2], 'running');
  writer.mark([17, 44], 'lingering');
  writer.refuse([27, 29, 54, 112]);
  const folder = layout(join(base, 'image'));
  cpSync(living.path, folder.path, { recursive: true });
  database.close();
  return {
    folder,
    whole: {
      database: readFileSync(folder.database),
      wal: readFileSync(folder.wal),
      sharedMemory: readFileSync(folder.sharedMemory),
    },
    id: database.id,
    written: writer.written,
    live: writer.live,
  };
}
