/**
 * A producer under faults at random, for a while: network, server and the producer's own death, beside each
 * other. Each job that was acknowledged runs once, and the stream in order. `OUTAGE_SEED=n` plays the same
 * faults again; `--full` plays for minutes.
 */
import { expect, it } from 'vitest';
import { playChaos } from './harness/once-chaos.ts';
import { type Consumer, OnceWorld } from './harness/once-world.ts';

const isFull = process.env.OUTAGE_FULL === '1';
const SEED = Number(process.env.OUTAGE_SEED ?? Date.now() % 1_000_000);
const CHAOS_MS = isFull ? 180_000 : 20_000;
/** The disk of a busy machine stands still for seconds, which is not what is tried here. */
const SETTINGS = { ENQUEUE_TIMEOUT: '20s' };

const consumers: readonly Consumer[] = ['plain', 'holdfast'];
for (const consumer of consumers) {
  it.concurrent(`runs each acknowledged job once through faults at random, seed ${SEED} (${consumer} worker)`, {
    timeout: CHAOS_MS + 120_000,
  }, async () => {
    const world = await OnceWorld.start(consumer, SETTINGS);
    try {
      const done = await playChaos(world, SEED, CHAOS_MS);
      await world.settle();
      expect(world.errors).toEqual([]);
      expect(world.verdict()).toEqual({ lost: [], twice: [], outOfOrder: [] });
      expect(await world.producer.close()).toMatchObject({ jobs: 0, refused: 0 });
      process.stdout.write(
        `chaos ${SEED} (${consumer} worker): ${world.owed.length} acknowledged, ${world.runs.length} run; ${JSON.stringify(done)}\n`,
      );
    } finally {
      await world.stop();
    }
  });
}
