/**
 * What a producer promises, against every order of outages, lost replies, rollbacks and crashes that
 * fast-check thinks of. `SIMULATION_SEED=123 npx vitest run --project simulation` replays a failure.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ENQUEUE_TIMEOUT_MS, type Event, ProducerWorld, WINDOW_MS } from './producer.ts';

const fixed = process.env.SIMULATION_SEED;
const QUEUES = ['mail', 'faq'];
const RUNS = Number(process.env.SIMULATION_RUNS ?? 1000);

const enqueue = (isStrict: fc.Arbitrary<boolean>): fc.Arbitrary<Event> =>
  fc.record({
    type: fc.constant('enqueue' as const),
    queue: fc.constantFrom(...QUEUES),
    count: fc.integer({ min: 1, max: 5 }),
    isStrict,
  });
const cut = fc.constant<Event>({ type: 'cut' });
const freeze: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('freeze' as const),
  ms: fc.integer({ min: 10, max: 1000 }),
});
const slow: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('slow' as const),
  latencyMs: fc.constantFrom(0.5, 1, 40, 90),
});
const rollback: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('rollback' as const),
  depthMs: fc.integer({ min: 0, max: WINDOW_MS - 100 }),
  awayMs: fc.integer({ min: 0, max: 1500 }),
});
const leave: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('leave' as const),
  queue: fc.constantFrom(...QUEUES),
  count: fc.integer({ min: 1, max: 5 }),
});
const crash: fc.Arbitrary<Event> = fc.record({
  type: fc.constant('crash' as const),
  awayMs: fc.integer({ min: 0, max: 500 }),
});

/** Happens, then time passes; mostly little, so that much is under way at once. */
const stepOf = (event: fc.Arbitrary<Event>) =>
  fc.tuple(event, fc.oneof({ weight: 3, arbitrary: fc.nat(5) }, fc.nat(120), fc.nat(1500)));

async function worldAfter(seed: number, steps: readonly [Event, number][]): Promise<ProducerWorld> {
  const world = new ProducerWorld(seed);
  for (const [event, passMs] of steps) {
    world.happen(event);
    await world.clock.pass(passMs);
  }
  await world.heal();
  return world;
}

function expectKept(world: ProducerWorld): void {
  const added = QUEUES.flatMap((queue) => world.added(queue));
  expect(new Set(added).size, 'added twice').toBe(added.length);
  const there = new Set(added);
  const lost = world.asked.filter(({ id, end }) => end === 'acknowledged' && !there.has(id));
  expect(lost, 'acknowledged and lost').toEqual([]);
}

/** None hung, none refused, nothing left over. */
function expectAnswered(world: ProducerWorld): void {
  for (const { id, end, isOrphan, tookMs } of world.asked) {
    if (isOrphan) continue;
    expect(end, `job ${id}`).toBe('acknowledged');
    expect(tookMs).toBeLessThanOrEqual(ENQUEUE_TIMEOUT_MS);
  }
  expect(world.troubles).toEqual([]);
  expect(world.journal.stats().jobs).toBe(0);
}

function expectInOrder(world: ProducerWorld): void {
  const acknowledged = new Set(
    world.asked
      .filter(({ end, isAdopted }) => end === 'acknowledged' && !isAdopted)
      .map(({ id }) => id),
  );
  for (const queue of QUEUES) {
    const numbers = world
      .added(queue)
      .filter((id) => acknowledged.has(id))
      .map(Number);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  }
}

async function holds(
  events: fc.Arbitrary<Event>[],
  check: (world: ProducerWorld) => void,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.array(stepOf(fc.oneof(...events)), { maxLength: 40, size: 'max' }),
      async (seed, steps) => check(await worldAfter(seed, steps)),
    ),
    { numRuns: RUNS, ...(fixed === undefined ? {} : { seed: Number(fixed) }) },
  );
}

const either = fc.boolean();
const never = fc.constant(false);
const always = fc.constant(true);

describe('a producer', () => {
  it('keeps what it acknowledged, once and in order, through outages of every kind', async () => {
    await holds([enqueue(either), enqueue(never), cut, freeze, slow, leave], (world) => {
      expectKept(world);
      expectAnswered(world);
      expectInOrder(world);
    });
  });

  it('keeps it once and in order also when it crashes at any moment', async () => {
    await holds([enqueue(either), enqueue(never), cut, freeze, slow, leave, crash], (world) => {
      expectKept(world);
      expectAnswered(world);
      expectInOrder(world);
    });
  });

  it('adds again, once, what Redis acknowledged and lost within the window', async () => {
    await holds([enqueue(either), enqueue(never), cut, freeze, slow, rollback], (world) => {
      expectKept(world);
      expectAnswered(world);
    });
  });

  it('survives the loss of both, its own memory and the last moments of Redis, when strict', async () => {
    await holds([enqueue(always), cut, freeze, slow, rollback, crash], (world) => {
      expectKept(world);
      expectAnswered(world);
    });
  });
});
