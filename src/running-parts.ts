/**
 * The parts that run, in the order of their start; stopped in reverse, each once and by a deadline. A
 * part that fails or does not come to its end must not keep the others from theirs.
 */
import type { Logger } from 'pino';
import type { Part } from './part.ts';
import { type Instant, systemClock } from './time.ts';

/** A part is given up so long after its deadline, or after its turn came if that is later, ms. */
const OVERDUE_MS = 250;

export class RunningParts {
  readonly #log: Logger;
  readonly #parts: Part[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** It counts from before its start: what fails half-way is stopped too. */
  async start(part: Part): Promise<void> {
    this.#parts.push(part);
    await part.start();
  }

  /** What runs already, and how it ends. */
  add(name: string, stop: (deadline: Instant) => Promise<void>): void {
    this.#parts.push({ name, start: async () => {}, stop });
  }

  /** Stops all, each by the deadline that it is given when its turn comes. */
  async stop(deadlineOf: (part: Part) => Instant): Promise<void> {
    for (let part = this.#parts.pop(); part; part = this.#parts.pop()) {
      await this.#stopPart(part, deadlineOf(part));
    }
  }

  async #stopPart(part: Part, deadline: Instant): Promise<void> {
    const { name } = part;
    const giveUpAt = Math.max(deadline, systemClock.now()) + OVERDUE_MS;
    try {
      if ((await within(part.stop(deadline), giveUpAt)) !== 'overdue') return;
      this.#log.error({ event: 'part.overdue', part: name }, `${name} did not stop in time`);
    } catch (error) {
      this.#log.error({ event: 'part.failed', part: name, err: error }, `${name} failed to stop`);
    }
  }
}

/** The end of `work`, or `overdue` at an instant of the monotonic clock. */
export async function within(work: Promise<unknown>, deadline: Instant): Promise<unknown> {
  let cancel: (() => void) | undefined;
  const overdue = new Promise<'overdue'>((resolve) => {
    const waitMs = Math.max(0, deadline - systemClock.now());
    cancel = systemClock.after(waitMs, () => resolve('overdue'));
  });
  try {
    return await Promise.race([work, overdue]);
  } finally {
    cancel?.();
  }
}
