/** The figures of queues: how often Redis is asked, and when they are too old to be shown. */
import { describe, expect, it } from 'vitest';
import { QueueFigures } from '../../src/queue/queue-figures.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

/** Redis as these figures ask it: a waiting job that is due since `dueAt`, by a clock that both share. */
function figuresOver(options: { answers?: boolean } = {}) {
  const clock = new VirtualClock();
  const asked: string[] = [];
  const seen = { isAway: false };
  const never = new Promise<never>(() => {});
  const client = {
    lindex: async () => 'job-1',
    zrange: async () => [],
    hmget: async (key: string) =>
      key.endsWith(':meta') ? [null] : ['0', '{"delay":5000}', null, null],
  };
  const figures = new QueueFigures({
    clock,
    queues: ['q'],
    prefix: 'bull',
    counts: (queue) => {
      asked.push(queue);
      return options.answers === false ? never : Promise.resolve({ waiting: 2 });
    },
    redis: () =>
      seen.isAway ? undefined : { client: client as never, serverNow: () => clock.now() },
  });
  return { figures, clock, asked, seen };
}

describe('figures of queues', () => {
  it('are asked once for all who look at the same time, and again after a while', async () => {
    const { figures, clock, asked } = figuresOver();
    await Promise.all([figures.look(), figures.look(), figures.look()]);
    await figures.look();
    expect(asked).toHaveLength(1);
    await clock.pass(3000);
    await figures.look();
    expect(asked).toHaveLength(2);
  });

  it('count the age of a delayed job from when it was due', async () => {
    const { figures, clock } = figuresOver();
    await clock.pass(8000);
    await figures.look();
    expect(figures.current).toEqual([
      { queue: 'q', counts: { waiting: 2 }, isPaused: false, oldestAgeMs: 3000 },
    ]);
  });

  it('keep nobody waiting for a Redis that does not answer, and ask it nothing more', async () => {
    const { figures, clock, asked } = figuresOver({ answers: false });
    const looked = figures.look();
    await clock.pass(200);
    await looked;
    await clock.pass(60_000);
    const again = figures.look();
    await clock.pass(200);
    await again;
    expect(asked).toHaveLength(1);
    expect(figures.current).toEqual([]);
  });

  it('are gone soon while Redis is away, and not asked for', async () => {
    const { figures, clock, asked, seen } = figuresOver();
    await figures.look();
    seen.isAway = true;
    await clock.pass(14_000);
    expect(figures.current).toHaveLength(1);
    await clock.pass(2000);
    expect(figures.current).toEqual([]);
    await figures.look();
    expect(asked).toHaveLength(1);
  });
});
