/**
 * Faults at random on a producer's way to Redis, from a seed: the network, the server and the producer each
 * have a lane of their own, which goes on beside the others. What is done in which order is told by the seed;
 * how it falls in with the others is not, since it takes the time that it takes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ways } from './once-ways.ts';
import type { OnceWorld } from './once-world.ts';

/** Between two enqueues at most, ms. */
const PACE_MS_MAX = 25;
/** Of so many enqueues one is of another way than the stream's. */
const OTHER_EVERY = 3;
/** A fault of the network lasts for as long at most; twice what a pulse waits, ms. */
const NETWORK_MS_MAX = 900;
/** Longer than a pulse waits, far shorter than a lock, ms. */
const FREEZE_MS_MAX = 1200;
const DOWN_MS_MAX = 600;
const LATENCY_MS_MAX = 600;
const COMMANDS_MAX = 60;
/** Calm between two faults of a lane at most, ms. */
const CALM_MS_MAX = { network: 700, server: 2500, producer: 1000 };
/** A producer lives for as many acknowledgements at most. */
const LIFE_MAX = 300;
const LOOK_EVERY_MS = 5;

/** Mulberry32: the same numbers for the same seed. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A whole number below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  isHeads(): boolean {
    return this.below(2) === 0;
  }
}

type Fault = (world: OnceWorld, dice: Dice) => void | Promise<void>;

const network: Readonly<Record<string, Fault>> = {
  'loses replies': ({ door }, dice) => door.dropReplies({ forever: dice.isHeads() }),
  'loses replies, then resets': async ({ door }, dice) => {
    door.dropReplies();
    await sleep(dice.below(NETWORK_MS_MAX));
    door.reset();
  },
  'holds all up': ({ door }, dice) => {
    door.blackHole({ new: dice.isHeads(), forever: dice.isHeads() });
  },
  'loses one connection': ({ door }, dice) => {
    const [one] = door.connections();
    one?.blackHole({ forever: dice.isHeads() });
  },
  resets: ({ door }) => door.reset(),
  'is down': async ({ door }) => {
    await door.refuse();
    door.reset();
  },
  'is slow': ({ door }, dice) => {
    door.latency(dice.below(LATENCY_MS_MAX), dice.below(LATENCY_MS_MAX));
  },
  'breaks in a command': ({ door }, dice) => {
    const act = dice.isHeads() ? () => door.reset() : () => door.dropReplies();
    door.afterCommands(1 + dice.below(COMMANDS_MAX), dice.isHeads(), act);
  },
};

const server: Readonly<Record<string, Fault>> = {
  freezes: async ({ server: redis }, dice) => {
    redis.freeze();
    await sleep(dice.below(FREEZE_MS_MAX));
    redis.thaw();
  },
  dies: async (world, dice) => {
    await world.rest();
    await world.server.kill();
    await sleep(dice.below(DOWN_MS_MAX));
    await world.server.restart();
    world.goOn();
  },
};

/** Plays until the time is over; resolves when all is well again, with what was done, how often. */
export async function playChaos(
  world: OnceWorld,
  seed: number,
  forMs: number,
): Promise<Record<string, number>> {
  await world.enqueue('plain', 'begin', true);
  const end = performance.now() + forMs;
  const isOn = (): boolean => performance.now() < end;
  const done: Record<string, number> = {};
  const lane = async (dice: Dice, calmMsMax: number, faults: Readonly<Record<string, Fault>>) => {
    while (isOn()) {
      const name = dice.of(Object.keys(faults));
      done[name] = (done[name] ?? 0) + 1;
      await faults[name]!(world, dice);
      await sleep(dice.below(calmMsMax));
    }
  };
  const healing = (faults: Readonly<Record<string, Fault>>): Readonly<Record<string, Fault>> =>
    Object.fromEntries(
      Object.entries(faults).map(([name, fault]) => [
        name,
        async (of, dice) => {
          await fault(of, dice);
          await sleep(dice.below(NETWORK_MS_MAX));
          // Sometimes the next one finds it as it is.
          if (dice.below(4) > 0) await of.door.heal();
        },
      ]),
    );
  await Promise.all([
    enqueueWhile(isOn, world, new Dice(seed)),
    lane(new Dice(seed + 1), CALM_MS_MAX.network, healing(network)),
    lane(new Dice(seed + 2), CALM_MS_MAX.server, server),
    lane(new Dice(seed + 3), CALM_MS_MAX.producer, {
      'kills the producer': async (of, dice) => {
        const acknowledged = dice.below(LIFE_MAX);
        while (isOn() && of.producer.acknowledged < acknowledged) await sleep(LOOK_EVERY_MS);
        await of.restartProducer();
      },
    }),
  ]);
  // Whatever still waits for its command is taken away.
  world.door.afterCommands(1, false, () => undefined);
  await world.door.heal();
  return done;
}

async function enqueueWhile(isOn: () => boolean, world: OnceWorld, dice: Dice): Promise<void> {
  for (let n = 0; isOn(); n += 1) {
    const removes = dice.isHeads();
    if (dice.below(OTHER_EVERY) > 0) world.inStream(`stream ${n}`, removes);
    else void world.enqueue(dice.of(ways).name, `other ${n}`, removes);
    await sleep(dice.below(PACE_MS_MAX));
  }
}
