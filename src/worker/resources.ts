/**
 * What a worker's handlers share: opened once per process before its first job, closed after its last.
 * While `setup()` fails it is tried again, and its jobs wait in Redis, where other replicas may take
 * them.
 */
import pRetry, { AbortError } from 'p-retry';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { Clock, Instant } from '../time.ts';
import { settledBy } from './deadline.ts';
import type { ServiceFacts, WorkerDefinition } from './definition.ts';

/** Pause after the first failed `setup()`, ms; doubles up to the second, with jitter. */
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 30_000;
/** A `setup()` that has not ended after this time is named in the log, once in each such time, ms. */
const SLOW_MS = 30_000;

export class Resources {
  readonly #definition: WorkerDefinition;
  readonly #told: [Config, ServiceFacts];
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #stopping = new AbortController();
  #value: unknown;
  #isOpen = false;
  #failure: string | undefined;

  /** `told`: what `setup()` is given. */
  constructor(
    definition: WorkerDefinition,
    told: [Config, ServiceFacts],
    log: Logger,
    clock: Clock,
  ) {
    this.#definition = definition;
    this.#told = told;
    this.#log = log;
    this.#clock = clock;
  }

  get value(): unknown {
    return this.#value;
  }

  /** Why jobs wait for `setup()`; undefined when they do not. */
  get failure(): string | undefined {
    return this.#isOpen ? undefined : (this.#failure ?? 'setup() has not ended');
  }

  /** Resolves with true when handlers may run, with false when `close` came first. */
  async open(): Promise<boolean> {
    const { setup, queue } = this.#definition;
    if (setup) {
      try {
        await pRetry(() => this.#setUp(setup), {
          retries: Number.POSITIVE_INFINITY,
          minTimeout: RETRY_MIN_MS,
          maxTimeout: RETRY_MAX_MS,
          randomize: true,
          signal: this.#stopping.signal,
          onFailedAttempt: ({ error, attemptNumber }) => {
            this.#failure = `setup() failed: ${error.message}`;
            this.#log.error(
              { event: 'worker.setup_failed', queue, attempt: attemptNumber },
              `setup() of queue "${queue}" failed: ${error.message}; its jobs wait, it is tried again`,
            );
          },
        });
      } catch {
        // Only a stop ends the retries.
        return false;
      }
    }
    this.#isOpen = true;
    return true;
  }

  async #setUp(setup: (...told: [Config, ServiceFacts]) => unknown): Promise<void> {
    const { queue } = this.#definition;
    let cancel: (() => void) | undefined;
    const watch = () => {
      cancel = this.#clock.after(SLOW_MS, () => {
        this.#log.warn(
          { event: 'worker.setup_slow', queue },
          `setup() of queue "${queue}" has not ended; its jobs wait`,
        );
        watch();
      });
    };
    watch();
    try {
      const value = await setup(...this.#told);
      if (this.#stopping.signal.aborted) {
        // It came too late to be used, but it is open: what it opened is closed again.
        await this.#definition.teardown?.(value as never);
        throw new AbortError('stopping');
      }
      this.#value = value;
    } catch (error) {
      if (error instanceof AbortError) throw error;
      // p-retry gives up at a TypeError and at what is not an Error; a setup may throw anything.
      throw new Error(error instanceof Error ? error.message : String(error), { cause: error });
    } finally {
      cancel?.();
    }
  }

  /** Closes what `setup()` opened. Never throws, never later than `deadline`. */
  async close(deadline: Instant): Promise<void> {
    this.#stopping.abort();
    const { teardown, queue } = this.#definition;
    if (!this.#isOpen || !teardown) return;
    this.#isOpen = false;
    const tearDown = async () => {
      try {
        await teardown(this.#value as never);
      } catch (error) {
        this.#log.error(
          { event: 'worker.teardown_failed', queue },
          `teardown() of queue "${queue}" failed: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    };
    if (await settledBy(tearDown(), deadline, this.#clock)) return;
    this.#log.warn(
      { event: 'worker.teardown_slow', queue },
      `teardown() of queue "${queue}" has not ended; it is not waited for`,
    );
  }
}
