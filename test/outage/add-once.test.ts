/**
 * An enqueue whose outcome is unknown: the request may have reached Redis, and its job may have run and been
 * removed before the producer hears of Redis again. Each scenario breaks the producer's connection at one
 * exact moment, for every way to enqueue, while others go on enqueueing; each job that was acknowledged runs
 * once, and the stream in order.
 */
import { afterEach, describe, expect, it } from 'vitest';
import type { ProxiedConnection } from '../support/proxy.ts';
import { type Consumer, OnceWorld, type Way, ways } from './harness/once-world.ts';

let world: OnceWorld;
afterEach(() => world.stop());

/** Enqueues; resolves with the ids when all is acknowledged. */
async function enqueue(way: Way, mark: string, removes: boolean): Promise<string[]> {
  const ids = await way.enqueue(world.client, mark, { removeOnComplete: removes });
  world.owed.push(...ids);
  return ids;
}

/** Resolves with the connection that carries the request, when it is met. */
function meets(text: string, when: 'before' | 'passed', act: (of: ProxiedConnection) => void) {
  return new Promise<ProxiedConnection>((resolve) => {
    world.door.onRequest(text, when, (connection) => {
      act(connection);
      resolve(connection);
    });
  });
}

async function expectOnce(): Promise<void> {
  await world.settle();
  const owed = [...world.owed, ...world.stream];
  expect([...world.runs].sort()).toEqual(owed.sort());
  expect(world.runs.filter((id) => id.startsWith('stream-'))).toEqual(world.stream);
  expect(await world.client.close()).toMatchObject({ jobs: 0, refused: 0 });
}

const consumers: readonly Consumer[] = ['plain', 'holdfast'];
describe.each(consumers)('acknowledged jobs run once on a %s worker', (consumer) => {
  describe.each([true, false])('that removes what it has run: %s', (removes) => {
    it('when the reply of their add is lost and they run before the link is back', async () => {
      world = await OnceWorld.start(consumer);
      world.beginStream();
      for (const way of ways) {
        const mark = `lost ${way.name}`;
        const met = meets(way.text(mark), 'passed', (of) => of.dropReplies({ forever: true }));
        const ids = await enqueue(way, mark, removes);
        const connection = await met;
        await world.haveRun(ids);
        connection.reset();
      }
      await expectOnce();
    });

    it('when their add is late in the network, and comes when they have been added again', async () => {
      // Nothing else is enqueued: the late add meets the series as its second copy has left it.
      world = await OnceWorld.start(consumer);
      for (const way of ways) {
        const mark = `late ${way.name}`;
        const met = meets(way.text(mark), 'before', (of) => of.blackHole());
        const ids = await enqueue(way, mark, removes);
        await met;
        await world.haveRun(ids);
        await world.door.heal();
      }
      await expectOnce();
    });
  });
});
