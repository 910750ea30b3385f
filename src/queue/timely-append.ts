/**
 * Jobs into the journal in time or not at all: what is written after its caller was told otherwise is taken
 * out again, and every refusal names the jobs that it cost.
 */
import { JournalError, JournalFullError } from '../errors.ts';
import type { JobEntry, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock, Instant } from '../time.ts';

/** However late it is, the disk is given so long, ms: this process may have stood still. */
const APPEND_MIN_MS = 100;

export interface TimelyAppendDeps {
  clock: Clock;
  enqueueTimeoutMs: number;
}

export class TimelyAppend {
  readonly #deps: TimelyAppendDeps;
  readonly #journal: Pick<Journal, 'append' | 'appendAll' | 'settle' | 'path'>;

  constructor(
    deps: TimelyAppendDeps,
    journal: Pick<Journal, 'append' | 'appendAll' | 'settle' | 'path'>,
  ) {
    this.#deps = deps;
    this.#journal = journal;
  }

  /** @throws JournalFullError, JournalError; then none of them is kept */
  async append(entries: readonly JobEntry[], by: Instant): Promise<Position[]> {
    const { clock, enqueueTimeoutMs } = this.#deps;
    const named = (error: unknown): never => {
      const isOurs = error instanceof JournalFullError || error instanceof JournalError;
      throw isOurs ? error.of(entries.map(({ jobId }) => jobId)) : error;
    };
    const appended =
      entries.length === 1
        ? this.#journal.append(entries[0]!).then((position) => [position], named)
        : this.#journal.appendAll(entries).catch(named);
    const positions = await within(clock, appended, Math.max(APPEND_MIN_MS, by - clock.now()));
    if (positions !== undefined) return positions;
    appended.then(
      (late) => this.#journal.settle(late).catch(() => undefined),
      () => undefined,
    );
    throw new JournalError(
      this.#journal.path ?? '(memory)',
      `did not answer within ${enqueueTimeoutMs} ms`,
      'Look at the disk; enqueue the job again with the same id.',
      undefined,
      entries.map(({ jobId }) => jobId),
    );
  }
}

/** The value, or undefined when it does not come in time. Light: every job of the journal takes this way. */
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
