/** Jobs that came out of damaged files, of which nobody knows whether they ran from the journal. */
import { Redis } from 'ioredis';
import pino from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import type { JobEntry, Kept } from '../../src/journal/journal.ts';
import { runPlace } from '../../src/queue/island-job.ts';
import { storedJob } from '../../src/queue/job-store.ts';
import { journalFolder, openIn } from '../support/journal-folder.ts';
import { startRedis } from '../support/redis-server.ts';
import { plainQueue } from '../support/worker-runtime.ts';

const log = pino({ level: 'silent' });

it('adds no doubtful job a second time that ran from the journal and came to Redis, and all others', async () => {
  const redis = await startRedis();
  const folder = await journalFolder();
  await redis.kill();
  const producer = await createClient({ redis: redis.url, journal: folder, name: 'one', log });
  await producer.enqueueMany(
    'q',
    ['ran', 'waits', 'waits too'].map((name) => ({ name, data: {} })),
  );
  expect((await producer.close()).jobs).toBe(3);

  const journal = await openIn(folder, { replica: 'one' });
  const entries: Kept<JobEntry>[] = [];
  for await (const entry of journal.jobs()) entries.push(entry);
  await journal.mark(
    entries.map(({ position }) => position),
    'doubtful',
  );
  await journal.close();
  await redis.restart();
  const plain = new Redis(redis.url);
  onTestFinished(() => plain.disconnect());
  await plain.set(runPlace(storedJob(entries[0]!).place).key, '1');

  const next = await createClient({ redis: redis.url, journal: folder, name: 'one', log });
  await using queue = plainQueue(redis.url, 'q');
  await expect
    .poll(async () => (await queue.getWaiting()).map(({ name }) => name).sort())
    .toEqual(['waits', 'waits too']);
  const { stored } = await next.enqueue('q', 'later', {});
  expect(stored).toBeDefined();
  await expect
    .poll(async () => (await queue.getWaiting()).map(({ name }) => name).sort())
    .toEqual(['later', 'waits', 'waits too']);
  await next.close();
});
