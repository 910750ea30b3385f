/** Waits for what another process brings about, with an end. */
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_EVERY_MS = 20;

/** Resolves with the first true answer. @throws after `withinMs`, naming what did not happen */
export async function until<T>(
  what: string,
  withinMs: number,
  look: () => T | Promise<T>,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen as NonNullable<T>;
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(LOOK_EVERY_MS);
  }
}

/** As `until`, but says false instead of throwing. */
export async function happens(
  withinMs: number,
  look: () => boolean | Promise<boolean>,
): Promise<boolean> {
  try {
    return await until('', withinMs, look);
  } catch {
    return false;
  }
}
