/** Many deadlines under one timer. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Deadline, Deadlines } from '../../src/queue/deadlines.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

/** What the module promises: told by the deadline, no earlier than this before it, ms. */
const EARLY_MS = 5;

/** Deadlines in the order of their adding: when, until when, and when it is over if it ever is. */
const stories = fc.array(
  fc.record({
    afterMs: fc.integer({ min: 0, max: 30 }),
    withinMs: fc.integer({ min: 1, max: 100 }),
    overMs: fc.option(fc.integer({ min: 0, max: 150 }), { nil: undefined }),
  }),
  { minLength: 1, maxLength: 40 },
);

it('tells each that is not over in time, once and by then, and no other; leaves no timer', async () => {
  await fc.assert(
    fc.asyncProperty(stories, async (story) => {
      const clock = new VirtualClock();
      const deadlines = new Deadlines(clock);
      for (const { afterMs, withinMs, overMs } of story) {
        await clock.pass(afterMs);
        const by = clock.now() + withinMs;
        let toldAt: number | undefined;
        const deadline = new Deadline(by, () => {
          expect(toldAt).toBeUndefined();
          toldAt = clock.now();
          expect(toldAt).toBeGreaterThanOrEqual(by - EARLY_MS);
          expect(toldAt).toBeLessThanOrEqual(by);
        });
        deadlines.add(deadline);
        if (overMs === undefined) {
          clock.after(withinMs + 1, () => expect(toldAt).toBeDefined());
          continue;
        }
        clock.after(overMs, () => {
          const isInTime = deadlines.remove(deadline);
          expect(isInTime).toBe(toldAt === undefined);
          if (overMs > withinMs) expect(isInTime).toBe(false);
          if (overMs < withinMs - EARLY_MS) expect(isInTime).toBe(true);
        });
      }
      await clock.pass(500);
      expect(clock.pending).toBe(0);
    }),
    { numRuns: 100 },
  );
});

it('has one timer for all', async () => {
  const clock = new VirtualClock();
  const deadlines = new Deadlines(clock);
  const open = Array.from({ length: 1000 }, (_, n) => new Deadline(100 + n, () => {}));
  for (const deadline of open) deadlines.add(deadline);
  expect(clock.pending).toBe(1);
  for (const deadline of open) expect(deadlines.remove(deadline)).toBe(true);
  expect(clock.pending).toBe(0);
});
