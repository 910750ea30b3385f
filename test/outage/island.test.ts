/** Jobs that run from the journal while a real Redis is dead, and what Redis says of them afterwards. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Queue } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import { assertDefinitions } from '../../src/worker/definition-schema.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { killServices, ServiceProcess } from '../support/service-process.ts';
import { plainQueue, startRuntime, type TestRuntime } from '../support/worker-runtime.ts';

let redis: RedisServer;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
});
afterEach(async () => {
  await killServices();
  await redis.stop();
});

/** A runtime that has seen what the queues' keys say, and whose Redis is dead. */
async function cutOff(definitions: WorkerDefinition[]): Promise<TestRuntime> {
  const test = await startRuntime(redis.url, definitions);
  await ready(test);
  await kill(test);
  return test;
}

async function ready({ target }: TestRuntime): Promise<void> {
  await expect.poll(() => target.state().breaker).toBe('closed');
  // The look at the queue's keys follows at once: one more round trip is behind it.
  await target.generation()!.client.ping();
  await target.generation()!.client.ping();
}

async function kill({ target }: TestRuntime): Promise<void> {
  await redis.kill();
  await expect.poll(() => target.state().breaker, { timeout: 5000 }).not.toBe('closed');
}

async function restored(queue: Queue, ids: string[], state: string): Promise<void> {
  await redis.restart();
  await expect
    .poll(() => Promise.all(ids.map((id) => queue.getJobState(id))), { timeout: 15_000 })
    .toEqual(ids.map(() => state));
}

describe('island mode', () => {
  it('runs what it accepted while Redis is away, and Redis has result, log and times afterwards', async () => {
    const runs: string[] = [];
    await using test = await cutOff([
      {
        queue: 'q',
        island: true,
        concurrency: 2,
        handler: async (job) => {
          runs.push(job.id!);
          await job.log(`line of ${job.data.i}`);
          await job.updateProgress(50);
          return { i: job.data.i };
        },
      },
    ]);
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) {
      const { id, stored } = await test.client.enqueue('q', 'n', { i });
      expect(stored).toBe('journal');
      ids.push(id);
    }
    await expect.poll(() => runs.length).toBe(5);
    for (const jobId of ids) await test.line('job.completed', { jobId });
    const endedAt = Date.now();
    expect(runs).toEqual(ids);
    expect(test.target.state().breaker).not.toBe('closed');

    await using queue = plainQueue(redis.url, 'q');
    await restored(queue, ids, 'completed');
    for (const [i, id] of ids.entries()) {
      const job = (await queue.getJob(id))!;
      expect(job.returnvalue).toEqual({ i });
      expect(job.progress).toBe(50);
      expect(job.attemptsMade).toBe(1);
      expect((await queue.getJobLogs(id)).logs).toEqual([`line of ${i}`]);
      expect(job.timestamp).toBeLessThanOrEqual(job.processedOn!);
      expect(job.processedOn).toBeLessThanOrEqual(job.finishedOn!);
      expect(job.finishedOn).toBeLessThanOrEqual(endedAt);
    }
    const after = await test.client.enqueue('q', 'n', { i: 9 });
    await test.line('job.completed', { jobId: after.id });
    expect(runs).toEqual([...ids, after.id]);
    expect(test.target.journal.stats().outcomes).toBe(0);
  });

  it('repeats attempts with their backoff, and fails what fails each time', async () => {
    const attempts: number[] = [];
    await using test = await cutOff([
      {
        queue: 'q',
        island: true,
        attempts: 3,
        backoff: 50,
        handler: (job) => {
          attempts.push(job.attemptsMade);
          throw new Error(`attempt ${job.attemptsMade + 1}`);
        },
      },
    ]);
    const { id } = await test.client.enqueue('q', 'n', {});
    await test.line('job.failed', { jobId: id });
    expect(attempts).toEqual([0, 1, 2]);
    await using queue = plainQueue(redis.url, 'q');
    await restored(queue, [id], 'failed');
    const job = (await queue.getJob(id))!;
    expect(job.failedReason).toBe('attempt 3');
    expect(job.attemptsMade).toBe(3);
    expect(job.stacktrace).toHaveLength(3);
    expect(attempts).toEqual([0, 1, 2]);
  });

  it('goes on in Redis with a run and with a backoff that Redis finds under way', async () => {
    let finish!: () => void;
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const runs: string[] = [];
    await using test = await cutOff([
      {
        queue: 'q',
        island: true,
        concurrency: 2,
        attempts: 2,
        backoff: 3000,
        handler: async (job) => {
          runs.push(`${job.name} ${job.attemptsMade}`);
          if (job.name === 'slow') await finished;
          else if (job.attemptsMade === 0) throw new Error('not yet');
          return job.name;
        },
      },
    ]);
    const slow = await test.client.enqueue('q', 'slow', {});
    const twice = await test.client.enqueue('q', 'twice', {});
    await test.line('job.retried', { jobId: twice.id });
    await using queue = plainQueue(redis.url, 'q');
    await redis.restart();
    await expect.poll(() => queue.getJobState(slow.id), { timeout: 10_000 }).toBe('active');
    expect((await queue.getJob(slow.id))!.processedOn).toBeGreaterThan(0);
    finish();
    for (const id of [slow.id, twice.id]) {
      await expect.poll(() => queue.getJobState(id), { timeout: 10_000 }).toBe('completed');
    }
    expect(runs.sort()).toEqual(['slow 0', 'twice 0', 'twice 1']);
  });

  it('leaves what may be in Redis, what is delayed, named by its caller or deduplicated to Redis', async () => {
    const runs: string[] = [];
    await using test = await startRuntime(redis.url, [
      { queue: 'q', island: true, handler: (job) => void runs.push(job.name) },
    ]);
    await ready(test);
    redis.freeze();
    // Written to the socket, not answered: the journal takes them over as sent.
    const doubted = await Promise.all([1, 2, 3].map(() => test.client.enqueue('q', 'doubted', {})));
    expect(doubted.map(({ stored }) => stored)).toEqual(['journal', 'journal', 'journal']);
    await expect.poll(() => test.target.state().breaker, { timeout: 10_000 }).not.toBe('closed');
    await test.client.enqueue('q', 'delayed', {}, { delay: 10 });
    await test.client.enqueue('q', 'named', {}, { jobId: 'mine' });
    await test.client.enqueue('q', 'single', {}, { deduplication: { id: 'one' } });
    const plain = await test.client.enqueue('q', 'plain', {});
    await test.line('job.completed', { jobId: plain.id });
    expect(runs).toEqual(['plain']);
    redis.thaw();
    await expect.poll(() => runs.length, { timeout: 15_000 }).toBe(7);
    expect([...runs].sort()).toEqual(
      ['delayed', 'doubted', 'doubted', 'doubted', 'named', 'plain', 'single'].sort(),
    );
  });

  it('runs nothing twice with two replicas', async () => {
    const runs: string[] = [];
    const definition: WorkerDefinition = {
      queue: 'q',
      island: true,
      concurrency: 3,
      handler: async (job) => {
        runs.push(job.id!);
        await new Promise((resolve) => setTimeout(resolve, 5));
      },
    };
    await using one = await startRuntime(redis.url, [definition]);
    await using two = await startRuntime(redis.url, [definition]);
    await ready(one);
    await ready(two);
    await Promise.all([
      kill(one),
      expect.poll(() => two.target.state().breaker).not.toBe('closed'),
    ]);
    const ids: string[] = [];
    const send = async (count: number) => {
      for (let i = 0; i < count; i += 1) {
        for (const { client } of [one, two]) ids.push((await client.enqueue('q', 'n', {})).id);
      }
    };
    await send(50);
    await redis.restart();
    await send(50);
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getCompletedCount(), { timeout: 20_000 }).toBe(ids.length);
    expect([...runs].sort()).toEqual([...ids].sort());
  });

  it('refuses a limiter by name, and does not run a queue that is paused or limited', async () => {
    expect(() =>
      assertDefinitions([
        { queue: 'q', island: true, limiter: { max: 1, duration: 1000 }, handler: () => 1 },
      ]),
    ).toThrow(/"island" cannot keep the "limiter"/);
    await using paused = plainQueue(redis.url, 'paused');
    await using global = plainQueue(redis.url, 'global');
    await paused.pause();
    await global.setGlobalConcurrency(1);
    const runs: string[] = [];
    const handler = (job: { queueName: string }) => void runs.push(job.queueName);
    await using test = await startRuntime(
      redis.url,
      ['paused', 'global', 'free'].map((queue) => ({ queue, island: true, handler })),
      { isTargetLogged: true },
    );
    const reason = await test.line('island.refused', { queue: 'paused' });
    expect(reason.reason).toBe('it is paused');
    await test.line('island.refused', { queue: 'global' });
    await ready(test);
    await kill(test);
    for (const queue of ['paused', 'global', 'free']) await test.client.enqueue(queue, 'n', {});
    await test.line('job.completed', { queue: 'free' });
    expect(runs).toEqual(['free']);
  });

  it('loses nothing when the process is killed in the middle, and repeats only what had not ended', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-island-'));
    const runs = join(folder, 'runs');
    writeFileSync(runs, '');
    writeFileSync(
      join(folder, 'q.ts'),
      `import { appendFileSync } from 'node:fs';
       import { defineWorker } from 'holdfast';
       export default defineWorker({ queue: 'q', island: true, handler: async (job) => {
         appendFileSync(${JSON.stringify(runs)}, job.name + '\\n');
         if (job.name === 'hangs' && !process.env.LATER) await new Promise(() => {});
         return job.name;
       } });`,
    );
    const lines = () => readFileSync(runs, 'utf8').split('\n').filter(Boolean);
    const env = { REDIS_URL: redis.url, WORKERS_DIR: folder };
    const first = new ServiceProcess(env);
    await first.until('service.started');
    await expect.poll(async () => (await fetch(`${first.url}/readyz`)).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await redis.kill();
    await first.until('outage.opened');
    const ids: string[] = [];
    for (const name of ['ends', 'hangs', 'ends']) {
      const response = await fetch(`${first.url}/v1/queues/q/jobs`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ name, data: {} }),
      });
      ids.push(((await response.json()) as { id: string }).id);
    }
    await first.until('job.completed', 2);
    await expect.poll(() => lines().length).toBe(3);
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');

    const second = new ServiceProcess({ ...env, DATA_DIR: first.dataDir, LATER: '1' });
    await second.until('service.started');
    await using queue = plainQueue(redis.url, 'q');
    await restored(queue, ids, 'completed');
    expect(lines().sort()).toEqual(['ends', 'ends', 'hangs', 'hangs']);
    rmSync(folder, { recursive: true });
  });
});
