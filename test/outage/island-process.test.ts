/** Services that run jobs from their journals while Redis is dead, killed in the middle. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { killServices, ServiceProcess } from '../support/service-process.ts';
import { plainQueue } from '../support/worker-runtime.ts';

let redis: RedisServer;
let folder: string;

/** A run writes its line; what hangs ends in a later life only. */
const WORKER = `
  import { appendFileSync } from 'node:fs';
  import { defineWorker } from 'holdfast';
  export default defineWorker({
    queue: 'q',
    island: true,
    concurrency: 4,
    attempts: 3,
    handler: async (job) => {
      appendFileSync(process.env.RUNS, job.name + ' ' + job.attemptsMade + '\\n');
      if (job.name === 'again' && job.attemptsMade === 0) throw new Error('not yet');
      const isLater = process.env.LATER === '1' || job.name === 'ends';
      if (!isLater) await new Promise(() => {});
      await job.log('by ' + process.env.REPLICA);
      return process.env.REPLICA;
    },
  });`;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
  folder = mkdtempSync(join(tmpdir(), 'holdfast-island-'));
  writeFileSync(join(folder, 'q.ts'), WORKER);
  writeFileSync(runsFile(), '');
});
afterEach(async () => {
  await killServices();
  await redis.stop();
  rmSync(folder, { recursive: true });
});

function runsFile(): string {
  return join(folder, 'runs');
}

function runs(): string[] {
  return readFileSync(runsFile(), 'utf8').split('\n').filter(Boolean).sort();
}

async function start(env: Record<string, string> = {}): Promise<ServiceProcess> {
  const service = new ServiceProcess({
    REDIS_URL: redis.url,
    WORKERS_DIR: folder,
    RUNS: runsFile(),
    ...env,
  });
  await service.until('service.started');
  return service;
}

/** An answer from Redis is behind what the service asked it before. */
async function warm(service: ServiceProcess): Promise<string> {
  await expect.poll(async () => (await fetch(`${service.url}/readyz`)).status).toBe(200);
  const { id, stored } = await enqueue(service, 'ends');
  expect(stored).toBe('redis');
  return id;
}

async function enqueue(
  service: ServiceProcess,
  name: string,
  options: object = {},
): Promise<{ id: string; stored: string }> {
  const response = await fetch(`${service.url}/v1/queues/q/jobs`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name, data: {}, options }),
  });
  return (await response.json()) as { id: string; stored: string };
}

async function restored(ids: readonly string[]): Promise<void> {
  await using queue = plainQueue(redis.url, 'q');
  await redis.restart();
  await expect
    .poll(() => Promise.all(ids.map((id) => queue.getJobState(id))), { timeout: 20_000 })
    .toEqual(ids.map(() => 'completed'));
  expect(await queue.getJobCounts()).toMatchObject({ completed: ids.length, waiting: 0 });
}

describe('a process that dies in island mode', () => {
  it('loses nothing, repeats only what had not ended, and counts on from the attempt before', async () => {
    const first = await start();
    const ids = [await warm(first)];
    await first.until('job.completed');
    await redis.kill();
    await first.until('outage.opened');
    for (const name of ['ends', 'hangs', 'ends', 'again']) {
      ids.push((await enqueue(first, name)).id);
    }
    await first.until('job.completed', 3);
    await expect.poll(() => runs().length).toBe(6);
    await first.stop('SIGKILL');

    const second = await start({ DATA_DIR: first.dataDir, LATER: '1' });
    const ended = await fetch(`${second.url}/v1/queues/q/jobs/${ids[1]}`);
    expect(await ended.json()).toMatchObject({ state: 'completed', stored: 'journal' });
    await restored(ids);
    const before = ['ends 0', 'ends 0', 'ends 0', 'hangs 0', 'again 0', 'again 1'];
    expect(runs()).toEqual([...before, 'hangs 0', 'again 1'].sort());
  });

  it('runs a delayed job again that had begun and not ended, and one whose time had not come at its time', async () => {
    const first = await start();
    const ids = [await warm(first)];
    await first.until('job.completed');
    await redis.kill();
    await first.until('outage.opened');
    const dueAt = Date.now() + 4000;
    ids.push((await enqueue(first, 'hangs', { delay: 100 })).id);
    ids.push((await enqueue(first, 'ends', { delay: 200 })).id);
    ids.push((await enqueue(first, 'later', { delay: 4000 })).id);
    await first.until('job.completed', 2);
    await expect.poll(runs).toEqual(['ends 0', 'ends 0', 'hangs 0']);
    await first.stop('SIGKILL');

    await start({ DATA_DIR: first.dataDir, LATER: '1' });
    await restored(ids);
    expect(Date.now()).toBeGreaterThanOrEqual(dueAt - 1);
    expect(runs()).toEqual(['ends 0', 'ends 0', 'hangs 0', 'hangs 0', 'later 0']);
  });

  it('is taken over by the process beside it on the same data folder, which runs what had not ended', async () => {
    const one = await start({ REPLICA: 'one' });
    const two = await start({ REPLICA: 'two', DATA_DIR: one.dataDir, LATER: '1' });
    const completed = () => one.of('job.completed').length + two.of('job.completed').length;
    const ids = [await warm(one), await warm(two)];
    await expect.poll(completed).toBe(2);
    await redis.kill();
    await Promise.all([one, two].map((service) => service.until('outage.opened')));
    /** Who ended each, as Redis is to say. */
    const endedBy = new Map<string, string>();
    for (const name of ['ends', 'hangs', 'ends']) {
      const [ofOne, ofTwo] = [await enqueue(one, name), await enqueue(two, name)];
      endedBy.set(ofOne.id, name === 'ends' ? 'one' : 'two').set(ofTwo.id, 'two');
      ids.push(ofOne.id, ofTwo.id);
    }
    // The first has one that hangs.
    await expect.poll(completed).toBe(7);
    await one.stop('SIGKILL');
    await restored(ids);
    // At least once: that of the first which had not ended began again, none that had.
    expect(runs()).toEqual([...Array(6).fill('ends 0'), ...Array(3).fill('hangs 0')]);
    await using queue = plainQueue(redis.url, 'q');
    for (const [id, by] of endedBy) {
      const job = (await queue.getJob(id))!;
      expect([job.returnvalue, job.attemptsMade]).toEqual([by, 1]);
      expect((await queue.getJobLogs(id)).logs).toEqual([`by ${by}`]);
      expect(job.processedOn).toBeLessThanOrEqual(job.finishedOn!);
    }
  });
});
