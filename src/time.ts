/**
 * Time and chance, handed in. Pure rooms never read a clock or a random source themselves, so that
 * the simulator and the tests run the very code that production runs.
 */

/** Milliseconds on some clock. */
export type Instant = number;

export interface Clock {
  /** Monotonic milliseconds: for durations and deadlines. Never jumps. */
  now(): Instant;
  /** Wall-clock milliseconds since the epoch: for records that people or other machines read. */
  wall(): Instant;
  /** Calls `fire` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, fire: () => void): () => void;
}

/** A number in [0, 1), as `Math.random`. */
export type Random = () => number;

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(delayMs, fire) {
    // A deadline may have passed while it was computed; Node warns of negative delays.
    const timer = setTimeout(fire, Math.max(0, delayMs));
    return () => clearTimeout(timer);
  },
};

export const systemRandom: Random = () => Math.random();

/**
 * Whether `work` is done within `ms`; what takes longer goes on by itself.
 * @throws what `work` says within that time
 */
export async function isDoneWithin(
  clock: Clock,
  work: Promise<unknown>,
  ms: number,
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const cancel = clock.after(ms, () => resolve(false));
  try {
    return await Promise.race([work.then(() => true), promise]);
  } finally {
    cancel();
  }
}
