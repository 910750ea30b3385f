/**
 * A connection that ends in the middle of a producer's adds, which do not fail in the order in which they were
 * made: those that come in the moment before it is gone fail before those that were written to it, and single
 * jobs before a flow. All are kept, in order, for its next life.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Queue } from 'bullmq';
import pino from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/redis-server.ts';

/** Written before the hang-up. */
const WRITTEN = 5;
/** One in each turn of the event loop from the hang-up on: more turns than the connection has left. */
const LATER = 40;

const log = pino({ level: 'silent' });

/** A producer in calm weather, from which nothing arrives any more after that. */
async function setUp() {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-hang-up-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const server = await startRedis();
  onTestFinished(() => server.stop());
  const door = await startProxy(server.port);
  onTestFinished(() => door.stop());
  const producer = await createClient({ redis: door.url, journal: folder, log });
  await expect.poll(() => producer.enqueue('q', 'calm', {})).toMatchObject({ stored: 'redis' });
  door.blackHole({ forever: true });
  const queue = new Queue('q', { connection: { url: server.url } });
  onTestFinished(() => queue.close());
  /** What its next life adds, once that has added this job. */
  const addedUntil = async (jobId: string) => {
    const next = await createClient({ redis: server.url, journal: folder, log });
    await expect.poll(() => queue.getJobState(jobId)).toBe('waiting');
    const waiting = await queue.getWaiting();
    await next.close();
    return waiting.filter(({ name }) => name !== 'calm').map(({ id }) => id);
  };
  return { door, producer, addedUntil };
}

it('adds all jobs in order in its next life', async () => {
  const { door, producer, addedUntil } = await setUp();
  const ids: string[] = [];
  const accepted: Promise<{ stored: string }>[] = [];
  const enqueue = () => {
    const jobId = `job-${ids.length}`;
    ids.push(jobId);
    accepted.push(producer.enqueue('q', 'n', {}, { jobId }));
  };
  for (let n = 0; n < WRITTEN; n += 1) enqueue();
  door.hangUp();
  for (let n = 0; n < LATER; n += 1) {
    await nextTurn();
    enqueue();
  }
  const stored = (await Promise.all(accepted)).map((receipt) => receipt.stored);
  expect(new Set(stored)).toEqual(new Set(['journal']));
  expect(await producer.close()).toMatchObject({ jobs: ids.length });
  expect(await addedUntil(ids.at(-1)!)).toEqual(ids);
});

it('adds a flow in its next life that failed after a job behind it', async () => {
  const { door, producer, addedUntil } = await setUp();
  const child = { queue: 'q', name: 'child', data: {}, options: { jobId: 'child' } };
  const flow = { queue: 'q', name: 'parent', data: {}, options: { jobId: 'parent' } };
  const accepted: Promise<unknown>[] = [producer.flow({ ...flow, children: [child] })];
  // A flow takes a moment to be made.
  await nextTurn();
  accepted.push(producer.enqueue('q', 'n', {}, { jobId: 'behind' }));
  door.reset();
  await Promise.all(accepted);
  expect(await producer.close()).toMatchObject({ jobs: 2 });
  expect(await addedUntil('behind')).toEqual(['child', 'behind']);
});
