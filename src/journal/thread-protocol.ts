/**
 * What the journal's thread can be asked, as one table: the caller's side and the thread's side are
 * both typed by it. Values cross by structured clone, so they are plain data.
 */
import type { Adoption } from './adopt.ts';
import type { FindQuery, PageQuery } from './database-rows.ts';
import {
  type FoundJob,
  type Head,
  type Kept,
  Packed,
  type Position,
  type RefusedEntry,
} from './entry.ts';
import type { Fault } from './fault.ts';
import type { Reinstatement } from './reinstate.ts';
import type { DamageReport } from './rescue.ts';

/** Entries as they go to the journal's thread: six lists are copied in a third of the time of many objects. */
export type Columns = { readonly [Field in keyof Packed]: readonly Packed[Field][] };

export function columnsOf(packed: readonly Packed[]): Columns {
  return {
    type: packed.map(({ type }) => type),
    queue: packed.map(({ queue }) => queue),
    mark: packed.map(({ mark }) => mark),
    head: packed.map(({ head }) => head),
    args: packed.map(({ args }) => args),
    bytes: packed.map(({ bytes }) => bytes),
  };
}

export function packedOf({ type, queue, mark, head, args, bytes }: Columns): Packed[] {
  return type.map(
    (each, i) => new Packed(each, queue[i]!, mark[i]!, head[i]!, args[i]!, bytes[i]!),
  );
}

export interface Operations {
  append(columns: Columns): Position;
  page(query: PageQuery): Kept[];
  /** As `page`; `args` are left out, after they were checked. */
  heads(query: PageQuery): Head[];
  /** As many of these, from the first on, as fit into a page; `next`: how many were looked at. */
  read(positions: readonly Position[]): { entries: Kept[]; next: number };
  find(query: FindQuery): { entry: FoundJob | undefined; next: Position | undefined };
  remove(positions: readonly Position[]): void;
  mark(positions: readonly Position[], mark: string): void;
  refuse(position: Position, reason: string): void;
  refused(limit: number): RefusedEntry[];
  adopt(): Adoption;
  /** Writes something small, on disk when it answers. */
  probe(): void;
  close(): void;
}

export type Operation = keyof Operations;

export interface Request<Name extends Operation = Operation> {
  id: number;
  name: Name;
  args: Parameters<Operations[Name]>;
}

/** What the store holds after an operation. */
export interface Snapshot {
  outcomes: number;
  jobs: number;
  refused: number;
  bytes: number;
  /** When the first entry was made, ms since the epoch. */
  oldestAt: number | undefined;
}

export type Reply =
  /** The folder is ours and open. */
  | {
      type: 'opened';
      id: string;
      snapshot: Snapshot;
      warnings: string[];
      damage: DamageReport | undefined;
      /** Why it takes no entries now. */
      fault: Fault | undefined;
    }
  /** Another replica takes the folder over: it is ours when that is done. */
  | { type: 'waiting' }
  /** The folder cannot be had; the thread ends. */
  | { type: 'not-opened'; fault: Fault }
  | { type: 'done'; id: number; value: unknown; tookMs: number; snapshot: Snapshot }
  | { type: 'failed'; id: number; fault: Fault; snapshot: Snapshot }
  /** Damage met while running: already quarantined, the rest goes on. */
  | { type: 'damaged'; id: string; damage: DamageReport }
  /** Its files had been removed or replaced, and are in their place again. */
  | ({ type: 'reinstated' } & Reinstatement);

export interface ThreadOptions {
  base: string;
  replica: string;
  /** How long to wait for a former owner of the folder that is just ending, ms. */
  ownWaitMs: number;
}
