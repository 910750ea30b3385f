/** BullMQ's keys are of the types that we take them for: else a healthy queue would be set aside. */
import { FlowProducer, Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { BULLMQ_KEYS } from '../../src/queue/queue-keys.ts';
import { startRedis } from '../support/redis-server.ts';

it('of a queue that has been used in every way have their types', async () => {
  await using server = await startRedis();
  const connection = { host: server.host, port: server.port };
  const client = new Redis(server.url);
  const queue = new Queue('q', { connection });
  const flows = new FlowProducer({ connection });
  const worker = new Worker('q', null, { connection, concurrency: 2, lockDuration: 20 });
  try {
    await queue.add('completed', {});
    await (await worker.getNextJob('t', { block: false }))!.moveToCompleted('ok', 't', false);
    await queue.add('failed', {});
    await (await worker.getNextJob('t', { block: false }))!.moveToFailed(new Error('no'), 't');
    await queue.add('active', {});
    await worker.getNextJob('t', { block: false });
    // Marks what is active, to find it stalled the next time.
    await worker.startStalledCheckTimer();
    await queue.add('waiting', {});
    await queue.add('prioritized', {}, { priority: 1 });
    await queue.add('delayed', {}, { delay: 60_000 });
    await flows.add({ name: 'p', queueName: 'q', children: [{ name: 'c', queueName: 'other' }] });
    await queue.upsertJobScheduler('s', { every: 60_000 });
    await queue.rateLimit(60_000);
    const types = Object.fromEntries(
      await Promise.all(
        Object.keys(BULLMQ_KEYS).map(async (key) => [key, await client.type(`bull:q:${key}`)]),
      ),
    );
    // BullMQ has no list of its own for a paused queue any more.
    expect(types).toEqual({ ...BULLMQ_KEYS, paused: 'none' });
  } finally {
    await worker.close(true);
    await flows.close();
    await queue.close();
    client.disconnect();
  }
});
