/**
 * Redis answers late and the journal cannot take the job over: the caller is told what became of it, or,
 * when that cannot be known, under which id it may ask again. A job that is larger than the journal stands
 * for a bad disk here.
 */
import { Queue } from 'bullmq';
import pino from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import { OutcomeUnknownError } from '../../src/errors.ts';
import type { Client } from '../../src/queue/client.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let server: RedisServer;
let door: TcpProxy;
let client: Client;
let queue: Queue;

/** More than the journal takes. */
const LARGE = { text: 'x'.repeat(1_200_000) };

/** Where a job of this name is kept, under the same id however often it is asked for; or why not. */
const storedOf = (name: string): Promise<string> =>
  client.enqueue('late', name, LARGE, { jobId: name }).then(
    ({ stored }) => stored,
    ({ code }) => code,
  );

beforeEach(async () => {
  server = await startRedis();
  door = await startProxy(server.port);
  queue = new Queue('late', { connection: { host: server.host, port: server.port } });
  queue.on('error', () => undefined);
  client = await createClient({
    redis: door.url,
    journal: 'memory',
    enqueueTimeout: 1500,
    settings: {
      JOURNAL_BYTES_MAX: '1M',
      MAX_JOB_BYTES: '4M',
      PULSE_INTERVAL: '10s',
      PULSE_TIMEOUT: '10s',
    },
    log: pino({ level: 'silent' }),
  });
  await expect.poll(() => storedOf('first')).toBe('redis');
});
afterEach(async () => {
  await client.close();
  await queue.close();
  await door.stop();
  await server.stop();
});

it('says what Redis answers after all, and goes on', async () => {
  door.latency(150);
  const { id, stored } = await client.enqueue('late', 'second', LARGE);
  expect(stored).toBe('redis');
  expect((await queue.getJob(id))?.name).toBe('second');
  await door.heal();
  await expect.poll(() => storedOf('third')).toBe('redis');
  expect(await queue.getWaitingCount()).toBe(3);
});

it('names the id when nothing is known in time, so that it can be added again, once', async () => {
  door.dropReplies();
  const error = await client.enqueue('late', 'second', LARGE).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(OutcomeUnknownError);
  const [jobId] = (error as OutcomeUnknownError).data.jobIds as string[];
  expect((error as Error).message).toContain(jobId);
  await door.heal();
  door.reset();
  await expect
    .poll(() => client.enqueue('late', 'second', LARGE, { jobId: jobId! }).catch(() => undefined))
    .toEqual({ id: jobId, stored: 'redis' });
  expect((await queue.getWaiting()).map(({ id }) => id)).toContain(jobId);
  expect(await queue.getWaitingCount()).toBe(2);
});

it('names the id of a job that the journal refuses', async () => {
  await server.kill();
  await expect
    .poll(() => client.enqueue('late', 'second', LARGE).catch((error: unknown) => error))
    .toMatchObject({ code: 'HOLDFAST_JOURNAL_FULL', data: { jobId: expect.any(String) } });
  const mine = client.enqueue('late', 'second', LARGE, { jobId: 'mine' });
  await expect(mine).rejects.toThrow(/job mine/);
});
