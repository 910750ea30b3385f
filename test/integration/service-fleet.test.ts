/** Two replicas, three queues, a thousand mixed jobs, and a replica that is stopped in the middle. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { killServices, ServiceProcess } from '../support/service-process.ts';

const JOBS = 1000;
let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterEach(killServices);
afterAll(() => server.stop());

it('does every job once, loses none when a replica stops, and its log adds up', async () => {
  const workers = mkdtempSync(join(tmpdir(), 'holdfast-workers-'));
  for (const queue of ['plain', 'retrying', 'urgent']) {
    // Each run leaves a mark in Redis itself, so that runs are counted across processes.
    writeFileSync(
      join(workers, `${queue}.mjs`),
      `import { setTimeout as sleep } from 'node:timers/promises';
       export default {
         queue: '${queue}', concurrency: 10,
         async handler(job) {
           await sleep(job.data.ms);
           if (job.data.failsFirst && job.attemptsMade === 0) throw new Error('not yet');
           return job.data.n;
         },
       };`,
    );
  }
  const connection = { host: server.host, port: server.port };
  const queues = ['plain', 'retrying', 'urgent'].map((name) => new Queue(name, { connection }));
  const env = { REDIS_URL: server.url, WORKERS_DIR: workers, KEEP_COMPLETED_COUNT: '5000' };
  const first = new ServiceProcess({ ...env, REPLICA: 'one' });
  const second = new ServiceProcess({ ...env, REPLICA: 'two' });
  await Promise.all([first.until('service.started'), second.until('service.started')]);

  for (let from = 0; from < JOBS; from += 100) {
    await Promise.all(
      queues.map((queue, q) =>
        queue.addBulk(
          Array.from({ length: 100 }, (_, i) => from + i)
            .filter((n) => n % 3 === q)
            .map((n) => ({
              name: queue.name,
              data: { n, ms: n % 20, failsFirst: queue.name === 'retrying' && n % 2 === 0 },
              opts: {
                attempts: 3,
                backoff: { type: 'fixed', delay: 30 },
                ...(queue.name === 'urgent' ? { priority: 1 + (n % 5) } : {}),
                ...(n % 50 === 0 ? { delay: 300 } : {}),
              },
            })),
        ),
      ),
    );
    if (from === 400) first.child.kill('SIGTERM');
  }
  expect((await first.exited).code).toBe(0);
  const completed = async () =>
    (await Promise.all(queues.map((queue) => queue.getCompletedCount()))).reduce((a, b) => a + b);
  await expect.poll(completed, { timeout: 20_000, interval: 100 }).toBe(JOBS);
  expect(await second.stop()).toBe(0);

  const lines = [...first.of('job.completed'), ...second.of('job.completed')];
  expect(lines).toHaveLength(JOBS);
  expect(new Set(lines.map(({ queue, jobId }) => `${queue}:${jobId}`)).size).toBe(JOBS);
  expect(first.of('job.completed').length).toBeGreaterThan(0);
  expect([...first.noise, ...second.noise]).toEqual([]);
  for (const queue of queues) {
    const counts = await queue.getJobCounts('failed', 'active', 'waiting', 'delayed');
    expect(Object.values(counts).every((count) => count === 0)).toBe(true);
    await queue.close();
  }
  const client = new Redis(server.url);
  expect(await client.keys('*:lock')).toEqual([]);
  client.disconnect();
});
