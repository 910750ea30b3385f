/** Waiting with an end: no stop of this room may hang, whatever Redis or a handler does. */
import type { Clock, Instant } from '../time.ts';

/** Resolves with true when `work` settled, with false when the instant `deadline` came first. */
export async function settledBy(
  work: Promise<unknown>,
  deadline: Instant,
  clock: Clock,
): Promise<boolean> {
  let cancel: (() => void) | undefined;
  const late = new Promise<boolean>((resolve) => {
    cancel = clock.after(Math.max(0, deadline - clock.now()), () => resolve(false));
  });
  const settled = work.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, late]);
  } finally {
    cancel?.();
  }
}
