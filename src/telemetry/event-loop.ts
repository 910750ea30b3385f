/**
 * How late timers are: what a blocked event loop feels like from inside. Two looks a second cost
 * nothing, and a loop that stands still for longer than that is always seen.
 */
import type { Clock } from '../time.ts';

const LOOK_MS = 500;

/** Tells `onLag` how late each look was, ms. Returns how to stop. */
export function watchEventLoop(clock: Clock, onLag: (lagMs: number) => void): () => void {
  let cancel = (): void => {};
  const look = (): void => {
    const dueAt = clock.now() + LOOK_MS;
    cancel = clock.after(LOOK_MS, () => {
      onLag(Math.max(0, clock.now() - dueAt));
      look();
    });
  };
  look();
  return () => cancel();
}
