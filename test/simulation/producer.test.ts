/**
 * What a producer promises, against every order of outages, lost replies, rollbacks, crashes and troubles
 * of its disk that fast-check thinks of. `SIMULATION_SEED=123 npx vitest run --project simulation` replays
 * a failure; `SIMULATION_RUNS=10000` tells more stories.
 */
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  expectAccepted,
  expectAcceptedOrReported,
  expectAnswered,
  expectClosed,
  expectEmpty,
  expectInOrder,
  expectKept,
  expectRoom,
} from './promises.ts';
import {
  consume,
  crash,
  cut,
  damage,
  diskFails,
  diskHangs,
  enqueue,
  enqueueMany,
  freeze,
  leave,
  play,
  powerLoss,
  restart,
  rollback,
  slow,
  storyOf,
} from './stories.ts';
import type { Event, ProducerWorld, WorldOptions } from './world.ts';

const fixed = process.env.SIMULATION_SEED;
/** Stories over a journal in memory; over files, where one takes 20 ms, a quarter of them. */
const RUNS = Number(process.env.SIMULATION_RUNS ?? 1000);
const LIMIT_MS = 100 * RUNS;
vi.setConfig({ testTimeout: LIMIT_MS + 10_000 });

const either = fc.boolean();
const never = fc.constant(false);
const always = fc.constant(true);
const outages = [cut, freeze, slow, consume];
const enqueues = [enqueue(either), enqueue(never), enqueue(never)];
const ROOMY = 1e6;

async function holds(
  events: fc.Arbitrary<Event>[],
  options: Partial<WorldOptions>,
  check: (world: ProducerWorld) => unknown,
): Promise<void> {
  const all = { journal: 'disk' as const, replicas: 1 as const, entriesMax: ROOMY, ...options };
  await fc.assert(
    fc.asyncProperty(fc.nat(), storyOf(events), (seed, steps) => play(seed, steps, all, check)),
    {
      numRuns: Math.ceil(all.journal === 'disk' ? RUNS / 4 : RUNS),
      // In time to be told of the failure that is being shrunk.
      interruptAfterTimeLimit: LIMIT_MS,
      markInterruptAsFailure: true,
      ...(fixed === undefined ? {} : { seed: Number(fixed) }),
    },
  );
}

describe.each(['memory', 'disk'] as const)('a producer with its journal in %s', (journal) => {
  it('keeps what it acknowledged, once and in order, through outages of every kind', async () => {
    await holds([...enqueues, ...outages], { journal }, async (world) => {
      await expectKept(world);
      expectAccepted(world);
      expectAnswered(world);
      expectInOrder(world, () => 'all');
      await expectEmpty(world);
      await expectClosed(world);
    });
  });

  it('keeps it once and in order also when it crashes or restarts at any moment', async () => {
    await holds([...enqueues, ...outages, crash, restart], { journal }, async (world) => {
      await expectKept(world);
      expectAccepted(world);
      expectAnswered(world);
      expectInOrder(world, () => 'all');
      await expectEmpty(world);
      await expectClosed(world);
    });
  });

  it('adds again, once, what Redis acknowledged and lost within the window', async () => {
    await holds([...enqueues, ...outages, rollback], { journal }, async (world) => {
      await expectKept(world);
      expectAccepted(world);
      expectAnswered(world);
      await expectEmpty(world);
      await expectClosed(world);
    });
  });

  it('survives the loss of both, its own memory and the last moments of Redis, when strict', async () => {
    const events = [enqueue(always), ...outages, rollback, crash, restart];
    await holds(events, { journal }, async (world) => {
      await expectKept(world);
      expectAccepted(world);
      expectAnswered(world);
      await expectEmpty(world);
      await expectClosed(world);
    });
  });
});

describe('a producer with its journal on a disk', () => {
  it('loses nothing when the power goes in the middle of a write', async () => {
    await holds([...enqueues, ...outages, powerLoss, crash], {}, async (world) => {
      await expectKept(world);
      expectAcceptedOrReported(world);
      expectAnswered(world);
      expectInOrder(world, () => 'all');
      await expectEmpty(world);
      await expectClosed(world);
    });
  });

  it('refuses what finds no room, and keeps the rest', async () => {
    const events = [...enqueues, ...outages, crash, restart];
    await holds(events, { entriesMax: 8 }, async (world) => {
      await expectRoom(world);
      await expectKept(world);
      expectAnswered(world);
      expectInOrder(world, () => 'all');
      expect(world.troubles).toEqual([]);
      await expectEmpty(world);
      await expectClosed(world);
    });
  });

  it('says in time what a disk that hangs or fails costs, and adds nothing of it later', async () => {
    const troubles = [diskHangs, diskHangs, diskFails, diskFails, crash, restart];
    const events = [...enqueues, enqueue(always), enqueueMany, ...outages, ...troubles];
    await holds(events, {}, async (world) => {
      await expectKept(world);
      expectAnswered(world);
      expectInOrder(world, () => 'all');
      await world.restart();
      await expectEmpty(world);
      await expectClosed(world);
    });
  });

  it('loses to damage what is damaged and nothing else', async () => {
    await holds([...enqueues, ...outages, damage, crash, restart], {}, async (world) => {
      await expectKept(world);
      expectAnswered(world);
      await expectEmpty(world);
      await expectClosed(world);
    });
  });
});

describe('two replicas', () => {
  it('keep what one of them accepted and left behind, once, and each its own order', async () => {
    const events = [...enqueues, ...outages, crash, restart, leave];
    await holds(events, { replicas: 2 }, async (world) => {
      await expectKept(world);
      expectAccepted(world);
      expectAnswered(world);
      expectInOrder(world, ({ life }) => life);
      await expectEmpty(world);
      await expectClosed(world);
    });
  });
});
