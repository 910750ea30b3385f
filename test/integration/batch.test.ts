/** A batch that the journal has no room for is refused as a whole, so that it can be sent again as it is. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import { freePort, startRedis } from '../support/redis-server.ts';

const log = pino({ level: 'silent' });
const jobs = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ name: 'x', data: { n } }));

it.each(['memory', 'disk'])('is kept whole or not at all, in %s', async (place) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-batch-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const port = await freePort();
  const client = await createClient({
    redis: `redis://127.0.0.1:${port}`,
    journal: place === 'memory' ? 'memory' : folder,
    settings: { JOURNAL_ENTRIES_MAX: '2510' },
    log,
  });
  // More than one transaction takes.
  expect(await client.enqueueMany('q', jobs(2500))).toHaveLength(2500);
  const refused = await client.enqueueMany('q', jobs(15)).catch((error: unknown) => error);
  expect(refused).toMatchObject({
    code: 'HOLDFAST_JOURNAL_FULL',
    data: { jobIds: { length: 15 } },
  });
  const last = await client.enqueueMany('q', jobs(10));
  expect(last.map(({ stored }) => stored)).toEqual(last.map(() => 'journal'));
  const server = await startRedis({ port });
  await expect
    .poll(async () => (await client.counts('q').catch(() => undefined))?.waiting)
    .toBe(2510);
  const waiting = await client.queue('q').getWaiting(2500, 2509);
  expect(waiting.map(({ id }) => id)).toEqual(last.map(({ id }) => id));
  await client.close();
  await server.stop();
});
