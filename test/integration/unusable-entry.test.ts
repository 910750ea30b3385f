/** An entry of the journal that no add can be made of stands in nobody's way. */
import pino from 'pino';
import { afterAll, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import { jobNumber } from '../support/journal-entries.ts';
import { journalFolder, openIn } from '../support/journal-folder.ts';
import { startRedis, stopAllRedis } from '../support/redis-server.ts';

afterAll(stopAllRedis);

it('writes to Redis what stands behind it, and keeps it apart with the reason', async () => {
  const redis = await startRedis();
  const dir = await journalFolder();
  const before = await openIn(dir, { replica: 'c' });
  // It says neither which job it is nor which flow.
  await before.append(jobNumber(1));
  await before.close();
  const log = pino({ level: 'silent' });
  const client = await createClient({ redis: redis.url, journal: dir, name: 'c', log });
  const { id } = await client.enqueue('mail', 'send', {});
  await expect.poll(() => client.job('mail', id)).toMatchObject({ state: 'waiting' });
  const apart = await client.job('mail', 'job-1');
  expect(apart).toMatchObject({
    state: 'refused',
    failedReason: expect.stringContaining('no job can be made'),
  });
  expect(await client.close()).toMatchObject({ refused: 1 });
});
