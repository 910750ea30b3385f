/** A Redis that is slow for hours fills no log, and an outage's replay is told at once. */
import { expect, it } from 'vitest';
import { ReplayNotes } from '../../src/queue/replay-notes.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

function setUp() {
  const clock = new VirtualClock();
  const told: number[] = [];
  return { clock, told, notes: new ReplayNotes(clock, (jobs) => told.push(jobs)) };
}

it('tells the first replay at once, and of many that follow one line a minute', async () => {
  const { clock, told, notes } = setUp();
  for (let i = 0; i < 300; i += 1) {
    notes.replayed(2);
    await clock.pass(1000);
  }
  expect(told.length).toBeLessThanOrEqual(6);
  notes.stop();
  expect(told[0]).toBe(2);
  expect(told.reduce((sum, jobs) => sum + jobs)).toBe(600);
});

it('tells what was kept in an outage as soon as it is in Redis', async () => {
  const { told, notes } = setUp();
  notes.replayed(1);
  notes.outageOver();
  notes.replayed(50);
  notes.replayed(3);
  expect(told).toEqual([1, 50]);
});
