/** The delays between probes: bounds, means, and what a whole fleet makes of them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type BackoffOptions,
  delayBounds,
  fleetCap,
  type Pace,
  pauseMax,
  probeDelay,
} from '../../src/breaker/backoff.ts';
import { allowedConcurrency } from '../../src/breaker/slow-start.ts';
import { seededRandom } from '../simulation/virtual-clock.ts';

const options: BackoffOptions = {
  baseMs: 50,
  capMinMs: 250,
  capMaxMs: 15_000,
  attemptBudget: 1000,
};

const anyPace = fc.constantFrom<Pace>('fast', 'normal', 'slow');
const anyChance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const anyAttempt = fc.nat(100_000);
const anyFleet = fc.integer({ min: 0, max: 100_000 });

function mean(draw: () => number, times = 20_000): number {
  let sum = 0;
  for (let i = 0; i < times; i += 1) sum += draw();
  return sum / times;
}

describe('probeDelay', () => {
  it('stays within its bounds for every attempt, pace, fleet and chance', () => {
    fc.assert(
      fc.property(
        anyAttempt,
        anyPace,
        anyFleet,
        anyChance,
        fc.boolean(),
        (attempt, pace, replicas, chance, isFirst) => {
          const delay = probeDelay({ attempt, pace, isFirst }, replicas, options, () => chance);
          const { from, to } = delayBounds(attempt, pace, replicas, options);
          expect(from).toBeLessThanOrEqual(to);
          expect(delay).toBeGreaterThanOrEqual(isFirst ? 0 : from);
          expect(delay).toBeLessThanOrEqual(pauseMax(pace, replicas, options));
          expect(delay).toBeLessThanOrEqual(to);
          expect(delay).toBeLessThanOrEqual(options.capMaxMs);
        },
      ),
    );
  });

  it('lets few replicas come back in a quarter of a second, however long the outage was', () => {
    fc.assert(
      fc.property(anyAttempt, fc.integer({ min: 1, max: 100 }), anyChance, (attempt, n, chance) => {
        const later = { attempt, pace: 'fast', isFirst: false } as const;
        expect(probeDelay(later, n, options, () => chance)).toBeLessThanOrEqual(250);
      }),
    );
  });

  it('is half of its bound in the mean, and grows with the attempts', () => {
    const random = seededRandom(1);
    for (const [attempt, to] of [
      [0, 50],
      [1, 100],
      [2, 200],
      [3, 250],
      [9, 250],
    ] as const) {
      const later = { attempt, pace: 'fast', isFirst: false } as const;
      const found = mean(() => probeDelay(later, 1, options, random));
      expect(found / (to / 2), `attempt ${attempt}`).toBeCloseTo(1, 1);
    }
  });

  it('asks an operator’s mistake no more often than every two seconds after the first try', () => {
    fc.assert(
      fc.property(anyAttempt, anyFleet, anyChance, (attempt, replicas, chance) => {
        const later = { attempt, pace: 'slow', isFirst: false } as const;
        expect(probeDelay(later, replicas, options, () => chance)).toBeGreaterThanOrEqual(2000);
      }),
    );
  });

  it('draws first delays so that the fleet tries evenly from the first second on', () => {
    // What is left of an interval at a random moment has the mean E[X^2] / 2 E[X].
    const random = seededRandom(2);
    for (const replicas of [1, 500, 3000, 10_000]) {
      const { from, to } = delayBounds(9, 'fast', replicas, options);
      const expected = (from * from + from * to + to * to) / 3 / (from + to);
      const first = { attempt: 9, pace: 'fast', isFirst: true } as const;
      const found = mean(() => probeDelay(first, replicas, options, random));
      expect(found / expected, `${replicas} replicas`).toBeCloseTo(1, 1);
    }
  });
});

describe('the fleet', () => {
  /** Attempts in the busiest second of a minute that all begin together. */
  function busiestSecond(replicas: number, pace: Pace, seed: number): number {
    const random = seededRandom(seed);
    const attempts: number[] = [];
    for (let replica = 0; replica < replicas; replica += 1) {
      let at = probeDelay({ attempt: 0, pace, isFirst: true }, replicas, options, random);
      for (let attempt = 1; at < 60_000; attempt += 1) {
        attempts.push(at);
        at += probeDelay({ attempt, pace, isFirst: false }, replicas, options, random);
      }
    }
    attempts.sort((a, b) => a - b);
    let busiest = 0;
    for (let first = 0, last = 0; last < attempts.length; last += 1) {
      while (attempts[last]! - attempts[first]! >= 1000) first += 1;
      busiest = Math.max(busiest, last - first + 1);
    }
    return busiest;
  }

  it.each([
    [1, 'fast'],
    [50, 'fast'],
    [110, 'fast'],
    [500, 'fast'],
    [2000, 'fast'],
    [7000, 'fast'],
    [10_000, 'fast'],
    [10_000, 'normal'],
    [10_000, 'slow'],
  ] as const)(
    'of %i replicas (%s) never makes more attempts in a second than its budget',
    (replicas, pace) => {
      for (const seed of [1, 2, 3]) {
        expect(busiestSecond(replicas, pace, seed), `seed ${seed}`).toBeLessThanOrEqual(1000);
      }
    },
  );

  it('has a cap that never leaves its bounds and never falls as the fleet grows', () => {
    fc.assert(
      fc.property(anyFleet, anyFleet, (a, b) => {
        const [small, large] = a < b ? [a, b] : [b, a];
        expect(fleetCap(small, options)).toBeGreaterThanOrEqual(options.capMinMs);
        expect(fleetCap(large, options)).toBeLessThanOrEqual(options.capMaxMs);
        expect(fleetCap(small, options)).toBeLessThanOrEqual(fleetCap(large, options));
      }),
    );
  });
});

describe('slow start', () => {
  it('admits at least one and at most all, and never fewer as time goes on', () => {
    const anyConcurrency = fc.integer({ min: 1, max: 10_000 });
    const anyTime = fc.double({ min: 0, max: 60_000, noNaN: true });
    fc.assert(
      fc.property(anyConcurrency, anyTime, anyTime, anyTime, (concurrency, a, b, windowMs) => {
        const [earlier, later] = a < b ? [a, b] : [b, a];
        const first = allowedConcurrency(concurrency, earlier, windowMs);
        const second = allowedConcurrency(concurrency, later, windowMs);
        expect(first).toBeGreaterThanOrEqual(1);
        expect(second).toBeGreaterThanOrEqual(first);
        expect(second).toBeLessThanOrEqual(concurrency);
        expect(Number.isInteger(first)).toBe(true);
        expect(allowedConcurrency(concurrency, windowMs, windowMs)).toBe(concurrency);
      }),
    );
  });

  it('begins with a tenth and is half way at half time', () => {
    expect(allowedConcurrency(100, 0, 3000)).toBe(10);
    expect(allowedConcurrency(100, 1500, 3000)).toBe(50);
    expect(allowedConcurrency(1, 0, 3000)).toBe(1);
  });
});
