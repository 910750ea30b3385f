/** Stories that fast-check tells of a world: events of every kind, and the time that passes between them. */
import fc from 'fast-check';
import { WINDOW_MS } from './producer.ts';
import { QUEUES } from './promises.ts';
import { type Event, ProducerWorld, type WorldOptions } from './world.ts';

const replica = fc.nat(1);

export const enqueue = (isStrict: fc.Arbitrary<boolean>): fc.Arbitrary<Event> =>
  fc.record({
    type: fc.constant('enqueue' as const),
    replica,
    queue: fc.constantFrom(...QUEUES),
    count: fc.integer({ min: 1, max: 5 }),
    shape: fc.constantFrom('each' as const, 'each' as const, 'many' as const, 'flow' as const),
    isStrict,
    refusal: fc.oneof(
      { weight: 12, arbitrary: fc.constant(undefined) },
      fc.constantFrom('code' as const, 'error' as const, 'late error' as const),
    ),
  });
/** More than one transaction takes, kept together. */
export const enqueueMany: fc.Arbitrary<Event> = enqueue(fc.constant(true)).map((event) => ({
  ...(event as Extract<Event, { type: 'enqueue' }>),
  count: 5,
  shape: 'many',
}));
export const cut: fc.Arbitrary<Event> = replica.map((of) => ({ type: 'cut', replica: of }));
export const freeze: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('freeze' as const),
  ms: fc.integer({ min: 10, max: 1000 }),
});
export const slow: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('slow' as const),
  latencyMs: fc.constantFrom(0.5, 1, 40, 90),
});
export const rollback: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('rollback' as const),
  depthMs: fc.integer({ min: 0, max: WINDOW_MS - 100 }),
  awayMs: fc.integer({ min: 0, max: 1500 }),
});
export const consume = fc.constant<Event>({ type: 'consume' });
export const crash: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('crash' as const),
  replica,
  awayMs: fc.integer({ min: 0, max: 500 }),
});
export const powerLoss: fc.Arbitrary<Event> = replica.map((of) => ({
  type: 'power loss',
  replica: of,
}));
export const leave: fc.Arbitrary<Event> = replica.map((of) => ({ type: 'leave', replica: of }));
export const restart: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('restart' as const),
  replica,
  awayMs: fc.integer({ min: 0, max: 500 }),
});
/** Mostly about as long as whoever enqueues waits. */
export const diskHangs: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('disk hangs' as const),
  replica,
  ms: fc.oneof(fc.integer({ min: 10, max: 5000 }), fc.integer({ min: 1500, max: 2500 })),
});
/** Often for a moment only, between two transactions of what is appended together. */
export const diskFails: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('disk fails' as const),
  replica,
  ms: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 8 })),
});
export const damage: fc.Arbitrary<Event> = replica.map((of) => ({ type: 'damage', replica: of }));

export type Step = readonly [Event, number];

/** Happens, then time passes; mostly little, so that much is under way at once. */
const stepOf = (event: fc.Arbitrary<Event>): fc.Arbitrary<Step> =>
  fc.tuple(event, fc.oneof({ weight: 3, arbitrary: fc.nat(5) }, fc.nat(120), fc.nat(1500)));

export const storyOf = (events: fc.Arbitrary<Event>[]): fc.Arbitrary<Step[]> =>
  fc.array(stepOf(fc.oneof(...events)), { maxLength: 40, size: 'max' });

/** The world after a story and after the better weather that follows; `check` it, then it is removed. */
export async function play(
  seed: number,
  steps: readonly Step[],
  options: WorldOptions,
  check: (world: ProducerWorld) => unknown,
): Promise<void> {
  const world = new ProducerWorld(seed, options);
  try {
    for (const [event, passMs] of steps) {
      world.happen(event);
      await world.clock.pass(passMs);
    }
    await world.heal();
    await check(world);
  } finally {
    world.remove();
  }
}
