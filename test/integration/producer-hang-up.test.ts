/**
 * A server that hangs up on a producer in the middle of its adds: those that come in the moment before the
 * connection is gone fail before those that were written to it, and yet all are kept, in order, for its next life.
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

it('adds all jobs in order in its next life', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-hang-up-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  await using server = await startRedis();
  await using door = await startProxy(server.port);
  const log = pino({ level: 'silent' });
  const producer = await createClient({ redis: door.url, journal: folder, log });
  await expect.poll(() => producer.enqueue('q', 'calm', {})).toMatchObject({ stored: 'redis' });

  door.blackHole({ forever: true });
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
  expect(new Set((await Promise.all(accepted)).map(({ stored }) => stored))).toEqual(
    new Set(['journal']),
  );
  expect(await producer.close()).toMatchObject({ jobs: ids.length });

  const next = await createClient({ redis: server.url, journal: folder, log });
  const queue = new Queue('q', { connection: { url: server.url } });
  const last = ids.at(-1)!;
  await expect.poll(() => queue.getJobState(last)).toBe('waiting');
  const waiting = (await queue.getWaiting()).filter(({ name }) => name === 'n');
  expect(waiting.map(({ id }) => id)).toEqual(ids);
  await queue.close();
  await next.close();
});
