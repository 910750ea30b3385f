/**
 * What a handler tells about its job while it runs: progress and log lines. A handler never feels
 * Redis through them: nothing here throws, and nothing waits longer than a moment.
 *
 * While one progress is under way only the latest is kept; log lines are bounded. Everything is sent
 * before the outcome, on the same connection, so that Redis has it first.
 */
import type { Job, JobProgress } from 'bullmq';
import type { Logger } from 'pino';
import type { Clock } from '../time.ts';

/** A log line is waited for so long, ms, that in calm weather it is stored when the call returns. */
const WAIT_MS = 50;
/** Log lines of one run under way; what a server that does not answer could pile up. */
const LINES_UNDER_WAY_MAX = 1000;

export class Notes {
  readonly #clock: Clock;
  readonly #log: () => Logger;
  readonly #sendProgress: (value: JobProgress) => Promise<unknown>;
  readonly #sendLine: (line: string) => Promise<number>;
  #latest: { value: JobProgress } | undefined;
  #isProgressUnderWay = false;
  #linesUnderWay = 0;
  #lines = 0;
  #isSlow = false;
  #hasComplained = false;

  constructor(job: Job, log: () => Logger, clock: Clock) {
    this.#clock = clock;
    this.#log = log;
    // BullMQ's own, behind what the run has put before them.
    const { updateProgress, log: addLine } = Object.getPrototypeOf(job) as Job;
    this.#sendProgress = updateProgress.bind(job);
    this.#sendLine = addLine.bind(job);
  }

  progress(value: JobProgress): Promise<void> {
    this.#latest = { value };
    if (!this.#isProgressUnderWay) this.#sendLatest();
    return Promise.resolve();
  }

  #sendLatest(): void {
    const latest = this.#latest;
    if (!latest) return;
    this.#latest = undefined;
    this.#isProgressUnderWay = true;
    const send = async () => await this.#sendProgress(latest.value);
    send()
      .catch((error: unknown) => this.#complain('progress', error))
      .finally(() => {
        this.#isProgressUnderWay = false;
        this.#sendLatest();
      });
  }

  /** Resolves with the number of lines, as BullMQ does; with our own count when Redis is slow. */
  async line(text: string): Promise<number> {
    this.#lines += 1;
    if (this.#linesUnderWay >= LINES_UNDER_WAY_MAX) {
      this.#complain('log', new Error(`${LINES_UNDER_WAY_MAX} lines wait for Redis`));
      return this.#lines;
    }
    this.#linesUnderWay += 1;
    const send = async () => await this.#sendLine(text);
    const sent = send()
      .catch((error: unknown) => {
        this.#complain('log', error);
        return this.#lines;
      })
      .finally(() => {
        this.#linesUnderWay -= 1;
        if (this.#linesUnderWay === 0) this.#isSlow = false;
      });
    return this.#isSlow ? this.#lines : await this.#aMoment(sent);
  }

  async #aMoment(sent: Promise<number>): Promise<number> {
    let cancel: (() => void) | undefined;
    const late = new Promise<number>((resolve) => {
      cancel = this.#clock.after(WAIT_MS, () => {
        this.#isSlow = true;
        resolve(this.#lines);
      });
    });
    try {
      return await Promise.race([sent, late]);
    } finally {
      cancel?.();
    }
  }

  /** The run is over: sends what is kept back. One connection keeps the order, so nobody waits. */
  flush(): void {
    this.#sendLatest();
  }

  #complain(kind: string, error: unknown): void {
    if (this.#hasComplained) return;
    this.#hasComplained = true;
    this.#log().warn(
      { event: 'job.note_lost', kind },
      `a note of the job was not stored: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
