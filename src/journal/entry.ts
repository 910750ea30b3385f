/**
 * What the journal keeps, and the one place that knows how an entry becomes a row and comes back.
 * A row that does not carry the checksum of exactly what it says is never turned into an entry: a
 * lost entry is reported, a wrong one would run.
 */
import assert from 'node:assert';
import { crc32 } from 'node:zlib';

/** Order of an entry in its journal. Opaque: compare, pass back, never compute with it. */
export type Position = number;

/** A job's outcome that Redis does not have yet. Carries what a replay compares before it acts. */
export interface OutcomeEntry {
  type: 'outcome';
  /** Which settle it was: `completed`, `failed`, `delayed`, `retried` … the queue room's word. */
  kind: string;
  queue: string;
  /** BullMQ's key prefix. */
  prefix: string;
  jobId: string;
  /** The lock's token under which the job ran. */
  token: string;
  /** BullMQ's `ats`: with `jobTimestamp` it tells this run from a later use of the same job id. */
  attemptsStarted: number;
  /** The job's `timestamp`, ms since the epoch. */
  jobTimestamp: number;
  /** Opaque to the journal: what the queue room needs to do the settle again. */
  args: string;
  /** When the outcome was reached, ms since the epoch. */
  at: number;
}

/**
 * What is known of an accepted job's way to Redis, kept on disk: `unsent` was never written to a
 * socket, `sent` may be in Redis already, `running` runs here from the journal (island mode),
 * `lingering` was in Redis when its process stopped, too short a time before to be safe from a rollback,
 * `doubtful` came out of damaged files as `unsent`: what says that it was begun may be lost.
 */
export type JobMark = 'unsent' | 'sent' | 'running' | 'lingering' | 'doubtful';

/** A job that was acknowledged and that Redis may not have yet. */
export interface JobEntry {
  type: 'job';
  queue: string;
  prefix: string;
  jobId: string;
  /** The job's name in its queue. */
  name: string;
  mark: JobMark;
  /** Opaque: data and options as accepted, sequence number. */
  args: string;
  /** When it was accepted, ms since the epoch: delays count from here. */
  at: number;
}

export type Entry = OutcomeEntry | JobEntry;
export type EntryType = Entry['type'];

/** An entry with its place in the journal. */
export type Kept<E extends Entry = Entry> = E & {
  position: Position;
  /** Of an entry that was first written to another journal: that one's id, "/", and its position there. */
  origin?: string;
};

/** A kept entry without what it carries. */
export type Head<E extends Entry = Entry> = Omit<Kept<E>, 'args'>;

/** An entry that Redis refuses for good, kept until a person decides. */
export type RefusedEntry = Kept & { reason: string; refusedAt: number };

/** An accepted job that was looked for; with the reason if Redis refused it. */
export type FoundJob = Kept<JobEntry> & { reason?: string };

/**
 * An entry on its way to the store: everything but the position, which the store gives. A class, since V8 puts
 * object literals that live as long as a commit among the old, where they, and all that they hold, wait for
 * the slow collector (allocation site pretenuring): a third of the time of a busy producer.
 */
export class Packed {
  readonly type: EntryType;
  readonly queue: string;
  readonly mark: string;
  /** The small fields as a JSON array. */
  readonly head: string;
  readonly args: string;
  /** What the entry counts against the journal's bound, bytes. */
  readonly bytes: number;

  constructor(
    type: EntryType,
    queue: string,
    mark: string,
    head: string,
    args: string,
    bytes: number,
  ) {
    this.type = type;
    this.queue = queue;
    this.mark = mark;
    this.head = head;
    this.args = args;
    this.bytes = bytes;
  }
}

/** An entry as it is stored. */
export interface Row extends Packed {
  position: Position;
  /** Empty, or [reason, ms since the epoch] as JSON. */
  refusal: string;
  /** Where an adopted entry was first written: journal id and position; null: here. */
  origin: string | null;
  crc: number;
}

/**
 * Bytes that SQLite and the checksum add to an entry, about. Measured with 10,000 entries each: of
 * 700 bytes by this count, the file had 688 an entry; of 1,400, 1,373; of 5,200, 5,474; but of 2,200
 * (one fits into a page of 4,096, two do not) 4,112.
 */
const ROW_OVERHEAD_BYTES = 96;

/** @throws AssertionError if a text would not come back as it is (lone surrogates). */
export function pack(entry: Entry): Packed {
  assert(entry.queue.isWellFormed() && entry.args.isWellFormed(), 'entry text is well-formed');
  const head = JSON.stringify(
    entry.type === 'outcome'
      ? [
          entry.kind,
          entry.prefix,
          entry.jobId,
          entry.at,
          entry.token,
          entry.attemptsStarted,
          entry.jobTimestamp,
        ]
      : [entry.name, entry.prefix, entry.jobId, entry.at],
  );
  const { type, queue, args } = entry;
  const mark = entry.type === 'job' ? entry.mark : '';
  const bytes =
    ROW_OVERHEAD_BYTES +
    Buffer.byteLength(queue) +
    Buffer.byteLength(head) +
    Buffer.byteLength(args);
  return new Packed(type, queue, mark, head, args, bytes);
}

/** Covers all columns, the position too: a row that moved is a damaged row. */
export function checksum(row: Omit<Row, 'crc'>): number {
  const { position, type, queue, mark, refusal, origin, bytes, head, args } = row;
  const small = `${position}\n${type}\n${queue}\n${mark}\n${refusal}\n${origin ?? ''}\n${bytes}\n${head}`;
  return crc32(args, crc32(small));
}

/** The entry of a row, or undefined if the row is not what was written. */
export function unpack(row: Row): Kept | undefined {
  if (checksum(row) !== row.crc) return undefined;
  const { position, queue, origin, args } = row;
  const [word, prefix, jobId, at, token, attemptsStarted, jobTimestamp] = JSON.parse(row.head);
  const common = {
    position,
    queue,
    prefix,
    jobId,
    args,
    at,
    ...(origin === null ? {} : { origin }),
  };
  return row.type === 'outcome'
    ? { type: 'outcome', kind: word, token, attemptsStarted, jobTimestamp, ...common }
    : { type: 'job', name: word, mark: row.mark as JobMark, ...common };
}

/** The refused entry of a row, or undefined if it is not refused or not what was written. */
export function unpackRefused(row: Row): RefusedEntry | undefined {
  const entry = row.refusal === '' ? undefined : unpack(row);
  if (entry === undefined) return undefined;
  const [reason, refusedAt] = JSON.parse(row.refusal);
  return { ...entry, reason, refusedAt };
}
