/**
 * A process that stood still wakes up while its job has been given up for stalled and waits again: it
 * must not begin a second run beside its own, nor fail the job for a stall that was no crash.
 */
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { startRedis } from '../support/redis-server.ts';
import { startTarget } from '../support/target.ts';

/** What BullMQ's stalled check does to a job whose lock has expired. */
async function giveUp(admin: Redis, id: string): Promise<void> {
  await admin
    .multi()
    .del(`bull:own:${id}:lock`)
    .lrem('bull:own:active', 0, id)
    .hincrby(`bull:own:${id}`, 'stc', 1)
    .rpush('bull:own:wait', id)
    .zadd('bull:own:marker', 0, '0')
    .exec();
}

it('keeps a job with its run when it takes the job from itself', async () => {
  const server = await startRedis();
  const target = await startTarget(server.url);
  const begun: string[] = [];
  const end = Promise.withResolvers<void>();
  const worker = new Worker(
    'own',
    async (job) => {
      begun.push(job.id!);
      if (job.name === 'long') await end.promise;
      return `result of ${job.id}`;
    },
    { connection: target.connection, concurrency: 2 },
    target.backendFactory,
  );
  worker.on('error', () => undefined);
  const queue = new Queue('own', { connection: { host: server.host, port: server.port } });
  const admin = new Redis(server.url);
  const { id } = await queue.add('long', {});
  await expect.poll(() => begun).toEqual([id]);
  await giveUp(admin, id!);
  await expect.poll(async () => await admin.hget(`bull:own:${id}`, 'stc')).toBe('0');
  const other = await queue.add('short', {});
  await expect.poll(async () => await queue.getCompletedCount()).toBe(1);
  await giveUp(admin, id!);
  await expect.poll(async () => await admin.hget(`bull:own:${id}`, 'stc')).toBe('0');
  expect(await queue.getActiveCount()).toBe(1);
  end.resolve();
  await expect.poll(async () => await queue.getCompletedCount()).toBe(2);
  expect(begun).toEqual([id, other.id]);
  expect((await queue.getJob(id!))?.returnvalue).toBe(`result of ${id}`);
  await Promise.all([worker.close(), queue.close()]);
  admin.disconnect();
  await target.stop(systemClock.now() + 1000);
  await server.stop();
});
