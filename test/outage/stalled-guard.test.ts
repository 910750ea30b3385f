/** Plain BullMQ workers leave stalled jobs to a replica only while that replica looks for them itself. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startRuntime, type TestRuntime } from '../support/worker-runtime.ts';

const GUARD = 'bull:q:stalled-check';
const handler = () => 'done';

let server: RedisServer;
beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  await server.stop();
});

const isGuarded = async () => (await server.command('EXISTS', GUARD)) === 1;

/** Resolves with the replica's next sign of life in the queue. */
async function nextBeat({ target }: TestRuntime): Promise<void> {
  const beat = async () =>
    Number(await server.command('ZSCORE', 'bull:q:holdfast:members', target.processId));
  const last = await beat();
  await expect.poll(beat, { timeout: 15_000 }).toBeGreaterThan(last);
}

it('a replica that looks for stalled jobs says so, and not any more when it is quiet', async () => {
  await using worker = await startRuntime(server.url, [{ queue: 'q', handler }], {
    config: { stalledIntervalMs: 200 },
  });
  await expect.poll(isGuarded).toBe(true);
  worker.runtime.quiet();
  await nextBeat(worker);
  await server.command('DEL', GUARD);
  await nextBeat(worker);
  expect(await isGuarded()).toBe(false);
});

it('a replica whose setup fails does not say so', async () => {
  const setup = () => {
    throw new Error('no database');
  };
  await using worker = await startRuntime(server.url, [{ queue: 'q', handler, setup }]);
  await nextBeat(worker);
  expect(await isGuarded()).toBe(false);
});
