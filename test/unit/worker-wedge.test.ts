/** When a queue that takes nothing is called wedged, and when it is not. */
import pino from 'pino';
import { beforeEach, expect, it } from 'vitest';
import type { Clock } from '../../src/time.ts';
import { WedgeDetector } from '../../src/worker/wedge.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

const AFTER_MS = 30_000;

let time: VirtualClock;
/** This process stood still for so long, ms: no timer fired meanwhile. */
let stoodStillMs: number;
let answeredAt: number;
let rebuilt: number;
/** What happens while the detector asks how many jobs are due. */
let asked: () => void;

const clock: Clock = {
  now: () => time.now() + stoodStillMs,
  wall: () => time.wall() + stoodStillMs,
  after: (delayMs, fire) => time.after(delayMs, fire),
};

beforeEach(() => {
  time = new VirtualClock();
  stoodStillMs = 0;
  answeredAt = 0;
  rebuilt = 0;
  asked = () => undefined;
  const rebuild = () => {
    rebuilt += 1;
  };
  const watched = { queue: 'q', isConsuming: true, freeSlots: 1, limitMs: 0, rebuild };
  new WedgeDetector({
    clock,
    log: pino({ level: 'silent' }),
    afterMs: AFTER_MS,
    queues: () => [watched],
    closedForMs: () => Number.POSITIVE_INFINITY,
    sinceTakeAnsweredMs: () => clock.now() - answeredAt,
    dueJobs: async () => {
      asked();
      return 1;
    },
  }).start();
});

it('is wedged when it takes nothing although jobs are due', async () => {
  await time.pass(1.5 * AFTER_MS);
  expect(rebuilt).toBe(1);
});

it('is not when it takes something while its due jobs are counted', async () => {
  asked = () => {
    answeredAt = clock.now();
  };
  await time.pass(1.5 * AFTER_MS);
  expect(rebuilt).toBe(0);
});

it('is not when the process stood still, but when nothing is taken afterwards either', async () => {
  await time.pass(0.8 * AFTER_MS);
  answeredAt = clock.now();
  stoodStillMs += 2 * AFTER_MS;
  await time.pass(0.8 * AFTER_MS);
  expect(rebuilt).toBe(0);
  await time.pass(AFTER_MS);
  expect(rebuilt).toBe(1);
});
