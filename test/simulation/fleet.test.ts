/**
 * What a fleet does to a Redis that goes away and comes back, over production's breaker and pulse.
 *
 * `SIMULATION_SEED=123 npx vitest run --project simulation` replays a failure; a failure names its seed.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { busiest, Fleet, type FleetOptions, type Mode, type Phase } from './fleet.ts';

const BUDGET = 1000;
const fixed = process.env.SIMULATION_SEED;
const seeds = fixed === undefined ? [1, 2, 3] : [Number(fixed)];

async function run(options: FleetOptions, forMs: number): Promise<Fleet> {
  const fleet = new Fleet(options);
  fleet.start();
  await fleet.clock.pass(forMs);
  return fleet;
}

/** Ms from `at` until the last replica of the fleet had opened, or closed again. */
function latest(fleet: Fleet, what: 'opened' | 'closed', at: number): number {
  return Math.max(
    ...fleet.replicas.map((replica) => {
      const first = replica[what].find((time) => time >= at);
      return first === undefined ? Number.POSITIVE_INFINITY : first - at;
    }),
  );
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]!;
}

describe.each(seeds)('with seed %i', (seed) => {
  it('50 replicas notice a server that dies at once and are back in half a second', async () => {
    const timeline: Phase[] = [
      { at: 2000, mode: 'refusing' },
      { at: 42_000, mode: 'up' },
    ];
    const fleet = await run({ seed, replicas: 50, timeline }, 45_000);
    expect(latest(fleet, 'opened', 2000)).toBeLessThanOrEqual(100);
    expect(latest(fleet, 'closed', 42_000)).toBeLessThanOrEqual(500);
    expect(fleet.closed).toBe(50);
    fleet.stop();
    expect(fleet.clock.pending).toBe(0);
  });

  it('50 replicas notice a frozen server within 3 s, keep a request waiting, and are back when it wakes', async () => {
    const timeline: Phase[] = [
      { at: 2000, mode: 'frozen' },
      { at: 47_000, mode: 'up' },
    ];
    const fleet = await run({ seed, replicas: 50, timeline }, 50_000);
    expect(latest(fleet, 'opened', 2000)).toBeLessThanOrEqual(3000);
    // Most wait on a probe that the server answers as it wakes; the rest were between two.
    expect(latest(fleet, 'closed', 47_000)).toBeLessThanOrEqual(500);
    const perReplica = fleet.attempts(2000).length / 50;
    expect(perReplica).toBeLessThanOrEqual(45 / 3 + 2);
    fleet.stop();
  });

  it('a freeze shorter than a pulse may take opens no breaker', async () => {
    const timeline: Phase[] = [
      { at: 2000, mode: 'frozen' },
      { at: 3500, mode: 'up' },
    ];
    const fleet = await run({ seed, replicas: 20, timeline }, 10_000);
    expect(fleet.replicas.flatMap(({ opened }) => opened)).toEqual([]);
    fleet.stop();
  });

  it('10,000 replicas stay within the budget through the outage and its end', async () => {
    const timeline: Phase[] = [
      { at: 500, mode: 'refusing' },
      { at: 40_500, mode: 'up' },
    ];
    const fleet = await run({ seed, replicas: 10_000, timeline, isPulsing: false }, 60_000);
    const attempts = fleet.attempts(500);
    const worst = busiest(attempts, 1000);
    expect(worst.count, `in the second from ${worst.at} ms`).toBeLessThanOrEqual(BUDGET);
    // Within the budget, and not by doing nothing: three quarters of it are used.
    const during = attempts.filter((at) => at < 40_500).length;
    expect(during / 40).toBeGreaterThan(0.75 * BUDGET);
    expect(latest(fleet, 'closed', 40_500)).toBeLessThanOrEqual(15_100);
    expect(fleet.closed).toBe(10_000);
    fleet.stop();
  });

  it('10,000 replicas do not fall into step, through a flapping server', async () => {
    const timeline: Phase[] = Array.from({ length: 20 }, (_, i) => ({
      at: 500 + i * 1000,
      mode: i % 2 === 0 ? 'refusing' : 'up',
    }));
    const fleet = await run({ seed, replicas: 10_000, timeline, isPulsing: false }, 40_000);
    const attempts = fleet.attempts(500);
    expect(busiest(attempts, 1000).count).toBeLessThanOrEqual(BUDGET);
    // In step would be thousands in a few milliseconds; evenly spread, about ten in ten.
    expect(busiest(attempts, 10).count).toBeLessThanOrEqual(40);
    expect(fleet.closed).toBe(10_000);
    fleet.stop();
  });

  it('a fleet that grew tenfold unnoticed costs tenfold, and still comes back', async () => {
    const timeline: Phase[] = [
      { at: 500, mode: 'refusing' },
      { at: 10_500, mode: 'up' },
    ];
    const fleet = await run(
      { seed, replicas: 1000, known: 100, timeline, isPulsing: false },
      12_000,
    );
    expect(busiest(fleet.attempts(500), 1000).count).toBeLessThanOrEqual(10 * BUDGET);
    expect(latest(fleet, 'closed', 10_500)).toBeLessThanOrEqual(500);
    fleet.stop();
  });
});

it('the p99 of coming back is below half a second for every fleet up to 50', async () => {
  for (const replicas of [1, 2, 10, 50]) {
    const waits: number[] = [];
    for (let seed = 1; seed <= Math.ceil(400 / replicas); seed += 1) {
      const back = 8000 + 7 * seed;
      const timeline: Phase[] = [
        { at: 500, mode: 'refusing' },
        { at: back, mode: 'up' },
      ];
      const fleet = await run({ seed, replicas, timeline, isPulsing: false }, back + 1000);
      for (const { closed } of fleet.replicas) waits.push(closed.at(-1)! - back);
      fleet.stop();
    }
    expect(quantile(waits, 0.99), `${replicas} replicas`).toBeLessThanOrEqual(500);
    expect(Math.min(...waits)).toBeGreaterThan(0);
  }
});

describe('whatever Redis does', () => {
  const anyTimeline = fc
    .array(
      fc.record({
        lasts: fc.integer({ min: 1, max: 12_000 }),
        mode: fc.constantFrom<Mode>('up', 'refusing', 'frozen'),
      }),
      { minLength: 1, maxLength: 8 },
    )
    .map((phases) => {
      let at = 1000;
      return phases.map(({ lasts, mode }): Phase => {
        const phase = { at, mode };
        at += lasts;
        return phase;
      });
    });

  it('every replica is back soon after it is back, and never opened without a reason', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1e6),
        fc.integer({ min: 1, max: 12 }),
        anyTimeline,
        async (seed, replicas, phases) => {
          const end = phases.at(-1)!.at + 12_000;
          const timeline = [...phases, { at: end, mode: 'up' as const }];
          const fleet = await run({ seed, replicas, timeline }, end + 600);
          expect(fleet.closed).toBe(replicas);
          expect(busiest(fleet.attempts(), 1000).count).toBeLessThanOrEqual(BUDGET);
          const wasAway = phases.some(({ mode }) => mode !== 'up');
          if (!wasAway) expect(fleet.replicas.flatMap(({ opened }) => opened)).toEqual([]);
          fleet.stop();
          expect(fleet.attempts(end + 600)).toEqual([]);
        },
      ),
      { numRuns: 40, ...(fixed === undefined ? {} : { seed: Number(fixed) }) },
    );
  });

  it('a seed replays a run exactly', async () => {
    const timeline: Phase[] = [
      { at: 700, mode: 'refusing' },
      { at: 4000, mode: 'frozen' },
      { at: 9000, mode: 'up' },
    ];
    const [first, second, other] = await Promise.all(
      [11, 11, 12].map((seed) => run({ seed, replicas: 5, timeline }, 12_000)),
    );
    expect(first!.attempts()).toEqual(second!.attempts());
    expect(first!.attempts()).not.toEqual(other!.attempts());
  });
});
