import { afterEach, expect, it } from 'vitest';
import { BatchError } from '../../src/cli/batch-error.ts';
import { RedisRoute } from '../../src/cli/redis-route.ts';
import type { JobInput } from '../../src/http/job-input.ts';
import { testConfig } from '../support/config.ts';
import { proxiedRedis } from '../support/proxied-redis.ts';

const place = proxiedRedis();
let route: RedisRoute | undefined;
afterEach(() => route?.close());

async function connect(): Promise<RedisRoute> {
  route = new RedisRoute({ ...testConfig().redis, url: place.proxy.url });
  await route.connect();
  return route;
}

function jobs(count: number, data: unknown = {}): JobInput[] {
  return Array.from({ length: count }, (_, i) => ({
    name: 'mail',
    data,
    options: { jobId: `job-${i}-` },
  }));
}

const waiting = async () =>
  ((await place.server.command('LRANGE', 'bull:mail:wait', 0, -1)) as string[]).reverse();

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error) => error,
  );
}

/** What a person reads within three seconds. */
async function promptly(promise: Promise<unknown>): Promise<unknown> {
  const began = performance.now();
  const error = await errorOf(promise);
  expect(performance.now() - began).toBeLessThan(3200);
  return error;
}

it('adds all in their order', async () => {
  const { enqueue } = await connect();
  const added = await enqueue.call(route!, 'mail', jobs(1000));
  expect(added).toHaveLength(1000);
  expect(added[999]).toEqual({ id: 'job-999-', stored: 'redis' });
  expect(await waiting()).toEqual(jobs(1000).map(({ options }) => options.jobId));
});

it.each([
  ['out-of-memory', ['CONFIG', 'SET', 'maxmemory', '1'], 'raise maxmemory'],
  ['read-only', ['REPLICAOF', '127.0.0.1', '1'], 'point REDIS_URL'],
  ['no-replicas', ['CONFIG', 'SET', 'min-replicas-to-write', '1'], 'Bring the replicas back'],
] as const)('a no of Redis (%s) leaves no doubt', async (condition, [name, ...args], remedy) => {
  const straight = await connect();
  await place.server.command(name, ...args);
  const error = await errorOf(straight.enqueue('mail', jobs(1)));
  expect(error).toMatchObject({ code: 'HOLDFAST_REDIS_UNAVAILABLE', data: { condition } });
  expect((error as Error).message).toMatch(/The job was not added\./);
  expect((error as Error).message).toContain(remedy);
  const many = (await errorOf(straight.enqueue('mail', jobs(1000)))) as BatchError;
  expect(many).toBeInstanceOf(BatchError);
  expect(many).toMatchObject({ kept: [], unknown: [], reason: { data: { condition } } });
  expect(await waiting()).toEqual([]);
});

it('knows of each of many what is kept when memory ends in the middle', async () => {
  const straight = await connect();
  const used = /used_memory:(\d+)/.exec(`${await place.server.command('INFO', 'memory')}`)![1];
  await place.server.command('CONFIG', 'SET', 'maxmemory', Number(used) + 1_000_000);
  const error = await errorOf(straight.enqueue('mail', jobs(1000, 'x'.repeat(2000))));
  const { kept, unknown, reason } = error as BatchError;
  expect(reason).toMatchObject({ data: { condition: 'out-of-memory' } });
  expect(unknown).toEqual([]);
  expect(kept.length).toBeGreaterThan(0);
  expect(kept.length).toBeLessThan(1000);
  expect(await waiting()).toEqual(kept.map(({ id }) => id));
});

it('asks again for what got no answer, and nothing is there twice', async () => {
  const straight = await connect();
  // Some have acted, others have not, and no answer says which.
  place.proxy.onRequest('job-500-', 'passed', (connection) => connection.reset());
  const added = await straight.enqueue('mail', jobs(1000));
  expect(added).toHaveLength(1000);
  expect((await waiting()).sort()).toEqual(added.map(({ id }) => id).sort());
});

it('says within three seconds of which jobs nobody knows when Redis does not come back', async () => {
  const straight = await connect();
  place.proxy.onRequest('job-0-', 'passed', () => place.proxy.cut());
  const error = await promptly(straight.enqueue('mail', jobs(1)));
  expect(error).toMatchObject({
    code: 'HOLDFAST_OUTCOME_UNKNOWN',
    data: { jobIds: ['job-0-'] },
    remedy: expect.stringMatching(/^Check that redis-server runs .*--job-id job-0-/),
  });
  expect((error as Error).message).toMatch(/ \(refused: nothing listens/);
});

it('knows what was answered before Redis froze', async () => {
  const straight = await connect();
  await straight.enqueue('mail', jobs(1));
  // The first of the batch is answered, all others are not.
  place.proxy.onRequest('job-1-', 'before', () => place.proxy.blackHole());
  const error = (await promptly(straight.enqueue('mail', jobs(3)))) as BatchError;
  expect(error.kept).toEqual([{ id: 'job-0-', stored: 'redis' }]);
  expect(error.unknown).toEqual(['job-1-', 'job-2-']);
  expect(error.reason).toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN' });
  expect(error.reason.message).toMatch(/ \(frozen: /);
});

it('tells of a password that was changed, and does not take what may be there for lost', async () => {
  const straight = await connect();
  place.proxy.onRequest('job-5-', 'before', (connection) => connection.reset());
  await place.server.command('CONFIG', 'SET', 'requirepass', 'x');
  const { kept, unknown, reason } = (await promptly(
    straight.enqueue('mail', jobs(1000)),
  )) as BatchError;
  expect(reason.message).toMatch(/auth-required/);
  expect([...kept.map(({ id }) => id), ...unknown]).toHaveLength(1000);
  expect(unknown).toContain('job-999-');
});
