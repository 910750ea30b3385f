/**
 * An enqueue whose outcome is unknown: the request may have reached Redis, and its job may have run and been
 * removed before the producer hears of Redis again. Each scenario breaks the producer's connection at one
 * exact moment, for every way to enqueue, while others go on enqueueing; each job that was acknowledged runs
 * once, and the stream in order.
 */
import { describe, expect, it } from 'vitest';
import type { ProxiedConnection } from '../support/proxy.ts';
import type { TripsWhen } from '../support/tripwire.ts';
import { type Way, ways } from './harness/once-ways.ts';
import { type Consumer, OnceWorld } from './harness/once-world.ts';
import { until } from './harness/until.ts';

/** Answers that come too late for whoever enqueues, and are no outage. */
const SLOW = { ENQUEUE_TIMEOUT: '1s', PULSE_TIMEOUT: '5s' };
const SLOW_MS = 1500;
const PATIENCE_MS = 20_000;

const consumers: readonly Consumer[] = ['plain', 'holdfast'];

interface Scenario {
  /** Nothing but its own jobs is enqueued. */
  isQuiet?: boolean;
  settings?: Readonly<Record<string, string>>;
  play(world: OnceWorld): Promise<void>;
}

function runsOnce(name: string, { isQuiet, settings, play }: Scenario): void {
  for (const consumer of consumers) {
    it.concurrent(`${name} (${consumer} worker)`, async () => {
      const world = await OnceWorld.start(consumer, settings);
      try {
        await world.enqueue('plain', 'begin', true);
        if (!isQuiet) world.beginStream();
        await play(world);
        await world.settle();
        expect(world.errors).toEqual([]);
        expect(world.verdict()).toEqual({ lost: [], twice: [], outOfOrder: [] });
        expect(await world.producer.close()).toMatchObject({ jobs: 0, refused: 0 });
      } finally {
        await world.stop();
      }
    });
  }
}

interface Struck {
  ids: string[];
  connection: ProxiedConnection;
}

const markOf = (way: Way, what: string): string => `${way.name} ${what}`;

/**
 * Enqueues by these ways together, by each one job that stays in Redis when it has run and one that leaves
 * nothing; the connection is struck when the first request comes along.
 */
async function struck(
  world: OnceWorld,
  those: readonly Way[],
  when: TripsWhen,
  act: (of: ProxiedConnection) => void,
): Promise<Struck> {
  const [first] = those;
  const { promise, resolve } = Promise.withResolvers<ProxiedConnection>();
  world.door.onRequest(first!.text(markOf(first!, 'kept')), when, (connection) => {
    act(connection);
    resolve(connection);
  });
  const ids = await Promise.all(
    those.flatMap((way) => [
      world.enqueue(way.name, markOf(way, 'kept'), false),
      world.enqueue(way.name, markOf(way, 'removed'), true),
    ]),
  );
  return { ids: ids.flat(), connection: await promise };
}

const loseReplies = (of: ProxiedConnection): void => of.dropReplies({ forever: true });

/**
 * By these ways: the first runs while the replies are lost and no other connection can be had, and so do the
 * others, but for those that a busy producer sends only when the first is late: they are in the journal.
 */
async function unheard(world: OnceWorld, those: readonly Way[]): Promise<Struck> {
  const of = await struck(world, those, 'passed', (connection) => {
    loseReplies(connection);
    void world.door.refuse();
  });
  await world.hasRun(markOf(those[0]!, 'kept'));
  return of;
}

const holdUp = (of: ProxiedConnection): void => of.blackHole();

/** What was held up reaches Redis, which then closes the connection that its client gave up. */
async function arrive(world: OnceWorld, connection: ProxiedConnection): Promise<void> {
  await world.door.heal();
  await until('Redis has read it', PATIENCE_MS, () => {
    return !world.door.connections().includes(connection);
  });
}

describe('acknowledged jobs run once', () => {
  runsOnce('when the reply to one add is lost and it runs before the link is back', {
    async play(world) {
      for (const way of ways) {
        const { ids, connection } = await unheard(world, [way]);
        connection.reset();
        await world.door.heal();
        await world.haveRun(ids);
      }
    },
  });

  runsOnce('when one add is late in the network and comes when it was done again', {
    // What is late meets the series as the second copy has left it.
    isQuiet: true,
    async play(world) {
      for (const way of ways) {
        const { ids, connection } = await struck(world, [way], 'before', holdUp);
        await world.haveRun(ids);
        await arrive(world, connection);
      }
    },
  });

  runsOnce('when adds are late in the network and others have been done meanwhile', {
    async play(world) {
      const { ids, connection } = await struck(world, ways, 'before', holdUp);
      await world.haveRun(ids);
      await arrive(world, connection);
    },
  });

  runsOnce('when the connection is reset as soon as they run', {
    async play(world) {
      const { ids } = await struck(world, ways, 'passed', (of) => {
        loseReplies(of);
        void world.hasRun(markOf(ways[0]!, 'kept')).then(() => of.reset());
      });
      await world.haveRun(ids);
    },
  });

  runsOnce('when the connection dies half-open with their adds in it', {
    async play(world) {
      const { ids } = await struck(world, ways, 'before', (of) => of.blackHole({ forever: true }));
      await world.haveRun(ids);
    },
  });

  runsOnce('when the replies come later than an enqueue may take', {
    settings: SLOW,
    async play(world) {
      const { ids } = await struck(world, ways, 'before', () => world.door.latency(SLOW_MS));
      await world.haveRun(ids);
      world.door.latency(0);
    },
  });

  runsOnce('when Redis freezes with their adds in its buffer and wakes when they were given up', {
    async play(world) {
      const { ids } = await struck(world, ways, 'before', () => world.server.freeze());
      const { accepted } = world.door;
      await until('it has let go', PATIENCE_MS, () => world.door.accepted > accepted);
      world.server.thaw();
      await world.haveRun(ids);
    },
  });

  runsOnce('when Redis is killed with their adds before it', {
    async play(world) {
      await world.rest();
      const gone = Promise.withResolvers<void>();
      const { ids } = await struck(world, ways, 'passed', () => {
        void world.server.kill().then(gone.resolve);
      });
      await gone.promise;
      await world.server.restart();
      world.goOn();
      await world.haveRun(ids);
    },
  });

  runsOnce('when Redis is killed after they ran and comes back with all that it had', {
    async play(world) {
      await unheard(world, ways);
      await world.rest();
      await world.server.kill();
      await world.server.restart();
      world.goOn();
      await world.door.heal();
    },
  });

  runsOnce('when the replies are lost and the producer is killed: its next life has the journal', {
    async play(world) {
      await unheard(world, ways);
      await world.restartProducer();
      await world.door.heal();
    },
  });

  runsOnce('when the producer is killed with their adds late in the network', {
    isQuiet: true,
    async play(world) {
      const { ids, connection } = await struck(world, ways, 'before', holdUp);
      await world.restartProducer();
      await world.haveRun(ids);
      await arrive(world, connection);
    },
  });
});
