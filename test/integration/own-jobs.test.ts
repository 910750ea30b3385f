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

it('keeps no job for a run that never was: BullMQ dropped it, since it could not go on with its schedule', async () => {
  const server = await startRedis();
  const target = await startTarget(server.url);
  const connection = { host: server.host, port: server.port };
  // A producer with words for times of its own, which this worker does not know.
  const repeatStrategy = (now: number) => now + 60_000;
  const queue = new Queue('rule', { connection, settings: { repeatStrategy } });
  await queue.upsertJobScheduler('daily', { pattern: 'FREQ=DAILY', immediately: true });
  const [due] = await queue.getDelayed();
  await due!.promote();
  const options = { connection: target.connection, lockDuration: 300, stalledInterval: 300 };
  const worker = new Worker('rule', async () => undefined, options, target.backendFactory);
  let drops = 0;
  worker.on('error', ({ message }) => {
    if (message.startsWith('Failed to add repeatable job')) drops += 1;
  });
  await expect.poll(() => drops).toBeGreaterThanOrEqual(2);
  // Who knows them runs it: nobody here has it in hand.
  await worker.close();
  const other = new Worker(
    'rule',
    async () => 'done',
    { ...options, settings: { repeatStrategy } },
    target.backendFactory,
  );
  await expect.poll(async () => (await queue.getJob(due!.id!))?.returnvalue).toBe('done');
  await Promise.all([other.close(), queue.close()]);
  await target.stop(systemClock.now() + 1000);
  await server.stop();
});
