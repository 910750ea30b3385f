/** The end of a burst: nothing runs here and nothing waits any more, neither in Redis nor in the journal. */
import { systemClock } from './time.ts';

export interface BurstLook {
  /** The queues of this service. */
  queues(): readonly { queue: string; concurrency: number; running: number }[];
  /** Accepted jobs that only the journal has: work as well. */
  journaledJobs(): number;
  /** Jobs by state. @throws while Redis is away */
  counts(queue: string): Promise<Readonly<Record<string, number>>>;
  /** The service stops: nobody waits any more. */
  isOver(): boolean;
}

/** How often an empty queue is looked for, ms. */
const LOOK_EVERY_MS = 500;

/** Resolves when the queues that are consumed here are empty, or the service stops. */
export async function drained(look: BurstLook): Promise<void> {
  while (!look.isOver()) {
    const here = look.queues().filter(({ concurrency }) => concurrency > 0);
    if (here.every(({ running }) => running === 0) && (await nothingWaits(look, here))) return;
    await new Promise<void>((resolve) => systemClock.after(LOOK_EVERY_MS, resolve));
  }
}

async function nothingWaits(
  { journaledJobs, counts }: BurstLook,
  queues: readonly { queue: string }[],
): Promise<boolean> {
  try {
    if (journaledJobs() > 0) return false;
    const found = await Promise.all(queues.map(({ queue }) => counts(queue)));
    return found.every(
      ({ waiting = 0, prioritized = 0, active = 0 }) => waiting + prioritized + active === 0,
    );
  } catch {
    // Redis is away: a burst waits for it like everything else.
    return false;
  }
}
