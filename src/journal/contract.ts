/**
 * What the rest of Holdfast knows of the journal: the durable store for what Redis does not have
 * yet, outcomes of jobs and accepted jobs. That it is SQLite in a thread stays in this room.
 */
import type { Clock } from '../time.ts';
import type { Adopted } from './adopt.ts';
import type {
  Entry,
  EntryType,
  FoundJob,
  Head,
  JobEntry,
  JobMark,
  Kept,
  OutcomeEntry,
  Position,
  RefusedEntry,
} from './entry.ts';

/** What the journal says by itself; a pino logger fits. */
export interface JournalLog {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface JournalOptions {
  /** The folder that holds one folder per replica. */
  dir: string;
  /** Names this replica's folder; two living processes may not share it. */
  replica: string;
  mode: 'disk' | 'memory';
  /** Bound on all entries together, bytes. */
  bytesMax: number;
  entriesMax: number;
  clock: Clock;
  log: JournalLog;
  /** Hears how long each commit took, fsync included, ms. */
  onCommit?: (tookMs: number) => void;
  /** How long to wait for a former owner of the folder that is just ending, ms. Default 5,000. */
  ownWaitMs?: number;
  /** How long one request to the disk may take before its callers are told, ms. Default 10,000. */
  replyMs?: number;
  /** Other sizes than usual; for tests. */
  sizes?: Partial<JournalSizes>;
}

export interface JournalSizes {
  /** Entries that one transaction takes. */
  commitEntries: number;
  /** So many are committed at once, while others are prepared. */
  eagerEntries: number;
  /** Entries that are read at once. */
  pageEntries: number;
}

export interface JournalStats {
  /** Entries that wait for their replay. */
  entries: number;
  outcomes: number;
  jobs: number;
  /** Entries that Redis refuses for good and that wait for a person. */
  refused: number;
  bytes: number;
  bytesMax: number;
  entriesMax: number;
  /** When the oldest entry was made, ms since the epoch. */
  oldestAt: number | undefined;
  /** How long the last commit took, fsync included, ms. */
  commitMs: number | undefined;
  /** Why the disk takes no entries at the moment, for a sentence: `its disk is full`. */
  trouble: string | undefined;
}

export interface Journal {
  /** Whether entries survive the process. */
  readonly durable: boolean;
  /** This replica's folder; undefined in memory. */
  readonly path: string | undefined;
  /** Names this journal in the `origin` of entries that another adopts. Another one after a rescue. */
  readonly id: string;
  /** What the operator should know about the place; for the caller to log. */
  readonly warnings: readonly string[];
  /**
   * Resolves once the entry is on disk. All that is appended while the disk is busy shares the next
   * transaction and its fsync.
   *
   * After `JournalError` because the disk did not answer in time, the entry is taken out again if
   * it gets written all the same; only if the process dies before that it may come back.
   * @throws JournalFullError, JournalError; what was kept before stays
   */
  append(entry: Entry): Promise<Position>;
  /**
   * As `append`, all or none: room for all is found first, and what one transaction takes (2,000 entries,
   * 4 MiB) is written by one. Only if the process dies in the middle of more may a part of it stay.
   */
  appendAll(entries: readonly Entry[]): Promise<Position[]>;
  /** Outcomes in order, oldest first, read in pages; entries settled meanwhile do not come. */
  outcomes(queue?: string): AsyncIterable<Kept<OutcomeEntry>>;
  /** Accepted jobs in the same way; `after` a position, if one is given. */
  jobs(queue?: string, after?: Position): AsyncIterable<Kept<JobEntry>>;
  /** As `outcomes` and `jobs` of all queues, without what the entries carry: for looking through many of them. */
  heads<T extends EntryType>(type: T): AsyncIterable<Head<Extract<Entry, { type: T }>>>;
  /**
   * The entries at these places that wait for their replay, in the order asked for, read in pages; what is
   * not there any more, or was damaged, does not come.
   */
  read(positions: readonly Position[]): AsyncIterable<Kept>;
  /**
   * The accepted job of this id if it is here, a refused one only if there is no other. Reads through the entries in the
   * journal's thread, in pages between which others are served. Measured: 100,000 entries of 700 bytes
   * take 48 ms, of 4 KB 270 ms.
   * @param isPassed entries at these places are passed over
   * @throws JournalError if it is not done within 5 s
   */
  find(
    queue: string,
    jobId: string,
    isPassed?: (position: Position) => boolean,
  ): Promise<FoundJob | undefined>;
  /** Removes entries that Redis has. Unknown positions are fine. */
  settle(positions: readonly Position[]): Promise<void>;
  /** Notes on disk how far jobs are on their way to Redis. Those that linger are no longer counted as `left`. */
  mark(positions: readonly Position[], mark: JobMark): Promise<void>;
  /** Redis has so many entries whose marks must stay as they are: they are no longer counted as `left`. */
  lingers(count: number): void;
  /** Keeps an entry that Redis refuses for good apart: not replayed, never dropped, reported. */
  refuse(position: Position, reason: string): Promise<void>;
  /** Refused entries, oldest first. */
  refused(limit?: number): Promise<RefusedEntry[]>;
  /**
   * Takes over what dead replicas below the same `dir` left. Their entries come before ours. To be
   * done before any stalled job is recovered, and again from time to time.
   */
  adoptOrphans(): Promise<Adopted[]>;
  stats(): JournalStats;
  /** Ends after what was asked before; idempotent. `left`: entries that Redis may not have. */
  close(): Promise<{ left: number }>;
}
