/**
 * The keys that say which adds Redis has live for a week after their last use, whoever uses them and
 * however seldom: a job whose number is forgotten would be added again.
 */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { AddSeries } from '../../src/queue/add-series.ts';
import { jobWork } from '../../src/queue/add-work.ts';
import { Generation } from '../../src/queue/generation.ts';
import type { StoredJob } from '../../src/queue/job-store.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';
import { PageSender } from '../../src/queue/replay-page.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const HOUR_MS = 3_600_000;
const DAY_SECONDS = 24 * 3600;

let server: RedisServer;
let client: Redis;
let clock: VirtualClock;
let generation: Generation;
let ledger: QueueLedger;

beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.url, { maxRetriesPerRequest: null });
});
beforeEach(async () => {
  await client.flushall();
  clock = new VirtualClock();
  generation = new Generation(client, 0, clock);
  ledger = new QueueLedger('bull', 'q');
});
afterAll(async () => {
  client.disconnect();
  await server.stop();
});

const never = (): never => {
  throw new Error('was not to be called');
};
const job = { name: 'x', data: '{}', opts: {}, timestamp: 1 };
const work = () => jobWork(ledger, job as never, 'a-job', {});

function series(): AddSeries {
  return new AddSeries(ledger, 'me', {
    clock,
    windowMs: 10_000,
    ready: async () => undefined,
    restore: never,
    isOutage: () => false,
    compareClocks: never,
    onWindowFull: never,
    onRedone: never,
    onRefusedAgain: never,
    onTrouble: never,
  });
}

const sender = () =>
  new PageSender(
    {
      processId: 'me',
      clock,
      ledger: () => ledger,
      ready: async () => undefined,
      workOf: never,
      isRunning: () => false,
      isOutage: () => false,
    },
    never,
  );

const add = (to: AddSeries) =>
  new Promise((acted, refused) => to.add(generation, work(), { acted, refused, doubted: never }));

const lifeOf = (key: string) => client.ttl(key);

it('a series in which little is added is renewed by the hour', async () => {
  const adds = series();
  await adds.settle(generation);
  await add(adds);
  expect(await lifeOf(adds.key)).toBeGreaterThan(6 * DAY_SECONDS);
  await client.expire(adds.key, 100);
  await clock.pass(HOUR_MS / 2);
  await add(adds);
  expect(await lifeOf(adds.key)).toBeLessThanOrEqual(100);
  await clock.pass(HOUR_MS);
  await add(adds);
  await expect.poll(() => lifeOf(adds.key)).toBeGreaterThan(6 * DAY_SECONDS);
});

it('a series is renewed when an outage ends', async () => {
  const adds = series();
  await adds.settle(generation);
  await add(adds);
  await client.expire(adds.key, 100);
  await adds.settle(new Generation(client, 0, clock));
  await expect.poll(() => lifeOf(adds.key)).toBeGreaterThan(6 * DAY_SECONDS);
});

it('what Redis had taken before it outlived its number is not added again', async () => {
  const number = { key: ledger.key('replay:other'), number: 1 };
  const send = (days: number) => {
    const at = clock.wall() - days * DAY_SECONDS * 1000;
    const entry = { mark: 'lingering', at } as never;
    return sender().send(
      [{ entry, ledger, work: work(), place: number }],
      generation,
      new Map(),
      false,
    );
  };
  expect(await send(8)).toEqual(['acted']);
  expect(await client.get(number.key)).toBeNull();
  expect(await send(1)).toEqual(['acted']);
  expect(await client.get(number.key)).toBe('1');
});

it('the series of another life is renewed by who replays its entries, by the hour', async () => {
  const key = ledger.key('replay:other');
  const pages = sender();
  const step = (number: number) => ({
    entry: { mark: 'unsent' } as never,
    ledger,
    work: work(),
    place: { key, number } satisfies StoredJob['place'],
  });
  const send = (number: number) => pages.send([step(number)], generation, new Map(), false);
  await send(1);
  await client.expire(key, 100);
  await send(2);
  expect(await lifeOf(key)).toBeLessThanOrEqual(100);
  await clock.pass(HOUR_MS + 1);
  await send(2);
  await expect.poll(() => lifeOf(key)).toBeGreaterThan(6 * DAY_SECONDS);
});
