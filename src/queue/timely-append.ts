/**
 * Jobs into the journal in time or not at all: what is written after its caller was told otherwise is taken
 * out again, and every refusal names the jobs that it cost.
 */
import { JournalError, JournalFullError } from '../errors.ts';
import type { JobEntry, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock, Instant } from '../time.ts';
import { Deadline, Deadlines } from './deadlines.ts';

/** However late it is, the disk is given so long, ms: this process may have stood still. */
const APPEND_MIN_MS = 100;

export interface TimelyAppendDeps {
  clock: Clock;
  enqueueTimeoutMs: number;
}

type TimelyJournal = Pick<Journal, 'append' | 'appendAll' | 'settle' | 'path'>;

export class TimelyAppend {
  readonly #deps: TimelyAppendDeps;
  readonly #journal: TimelyJournal;
  readonly #deadlines: Deadlines;

  constructor(deps: TimelyAppendDeps, journal: TimelyJournal) {
    this.#deps = deps;
    this.#journal = journal;
    this.#deadlines = new Deadlines(deps.clock);
  }

  /** @throws JournalFullError, JournalError; then it is not kept */
  append(entry: JobEntry, by: Instant): Promise<Position> {
    return this.#inTime(entry, this.#journal.append(entry), by);
  }

  /** @throws JournalFullError, JournalError; then none of them is kept */
  appendAll(entries: readonly JobEntry[], by: Instant): Promise<Position[]> {
    return this.#inTime(entries, this.#journal.appendAll(entries), by);
  }

  /** Light: every job of the journal takes this way. */
  #inTime<Written extends Position | Position[]>(
    what: JobEntry | readonly JobEntry[],
    appended: Promise<Written>,
    by: Instant,
  ): Promise<Written> {
    return new Promise((resolve, reject) => {
      const latest = Math.max(by, this.#deps.clock.now() + APPEND_MIN_MS);
      const late = new Deadline(latest, () => reject(this.#lateError(idsOf(what))));
      this.#deadlines.add(late);
      appended.then(
        (written) => {
          if (this.#deadlines.remove(late)) resolve(written);
          else this.#journal.settle([written].flat()).catch(() => undefined);
        },
        (error: unknown) => {
          this.#deadlines.remove(late);
          const isOurs = error instanceof JournalFullError || error instanceof JournalError;
          reject(isOurs ? error.of(idsOf(what)) : error);
        },
      );
    });
  }

  #lateError(jobIds: string[]): JournalError {
    return new JournalError(
      this.#journal.path ?? '(memory)',
      `did not answer within ${this.#deps.enqueueTimeoutMs} ms`,
      'Look at the disk; enqueue the job again with the same id.',
      undefined,
      jobIds,
    );
  }
}

function idsOf(what: JobEntry | readonly JobEntry[]): string[] {
  return [what].flat().map(({ jobId }) => jobId);
}

/** The value, or undefined when it does not come in time. */
export function within<T>(clock: Clock, work: Promise<T>, ms: number): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(Math.max(0, ms), () => resolve(undefined));
    work.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (error: unknown) => {
        cancel();
        reject(error);
      },
    );
  });
}
