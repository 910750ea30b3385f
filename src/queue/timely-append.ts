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
    const jobIds = entries.map(({ jobId }) => jobId);
    const [first] = entries;
    const appending =
      entries.length === 1
        ? this.#journal.append(first!).then((position) => [position])
        : this.#journal.appendAll(entries);
    const appended = appending.catch((error: unknown) => {
      const isOurs = error instanceof JournalFullError || error instanceof JournalError;
      throw isOurs ? error.of(jobIds) : error;
    });
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
      jobIds,
    );
  }
}

/** The value, or undefined when it does not come in time. */
export async function within<T>(
  clock: Clock,
  work: Promise<T>,
  ms: number,
): Promise<T | undefined> {
  let cancel: (() => void) | undefined;
  const late = new Promise<undefined>((resolve) => {
    cancel = clock.after(Math.max(0, ms), () => resolve(undefined));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel?.();
  }
}
