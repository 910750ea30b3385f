/** A journal that fails or hangs while Redis goes and comes back: Redis is not kept away by it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'bullmq';
import pino from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { JournalError } from '../../src/errors.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { systemClock } from '../../src/time.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';
import { plainQueue } from '../support/worker-runtime.ts';

let redis: RedisServer;
let folder: string;
let target: TestTarget;
let worker: Worker;
let lines: { event?: string; condition?: string }[];
/** What the journal answers to all but what was accepted before. */
let answer: (() => Promise<never>) | undefined;
/** Ends with the test, as a real journal gives up after a while. */
let hanging: PromiseWithResolvers<never>;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
  folder = mkdtempSync(join(tmpdir(), 'holdfast-trouble-'));
  lines = [];
  answer = undefined;
  hanging = Promise.withResolvers();
  hanging.promise.catch(() => undefined);
});
afterEach(async () => {
  answer = undefined;
  await worker.close(true);
  await target.stop(systemClock.now() + 1000);
  await redis.stop();
  rmSync(folder, { recursive: true });
});

/** Real, but for the calls that are made to fail. */
function failing(journal: Journal): Journal {
  return new Proxy(journal, {
    get(real, name) {
      const value = Reflect.get(real, name, real) as unknown;
      if (typeof value !== 'function') return value;
      if (answer && (name === 'adoptOrphans' || name === 'settle')) return answer;
      return value.bind(real);
    },
  });
}

/** A job ends in an outage, on disk; then the journal fails, and Redis comes back. */
async function comesBackWith(answers: () => Promise<never>): Promise<void> {
  const write = (text: string) => lines.push(JSON.parse(text));
  target = await startTarget(redis.url, {
    journalDir: folder,
    journal: failing,
    adoptEveryMs: 500,
    log: pino({}, { write }),
  });
  const runs: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const handler = async (job: { name: string }) => {
    runs.push(job.name);
    await promise;
  };
  worker = new Worker('q', handler, { connection: target.connection }, target.backendFactory);
  worker.on('error', () => undefined);
  await using queue = plainQueue(redis.url, 'q');
  await queue.add('a', {});
  await expect.poll(() => runs).toEqual(['a']);
  await redis.kill();
  await expect.poll(() => target.state().breaker).not.toBe('closed');
  resolve();
  await expect.poll(() => target.journal.stats().outcomes).toBe(1);
  answer = answers;
  await redis.restart();
  await expect.poll(() => target.state().breaker, { timeout: 12_000 }).toBe('closed');
  await queue.add('b', {});
  await expect.poll(() => queue.getCompletedCount()).toBe(2);
  expect(runs).toEqual(['a', 'b']);
  expect(lines.map(({ event }) => event)).toContain('journal.adoption_failed');
  // What it kept of the job is taken out when it works again.
  answer = undefined;
  hanging.reject(new JournalError(folder, 'did not answer', 'Look at the disk.'));
  await expect.poll(() => target.journal.stats().outcomes).toBe(0);
}

it('comes back while the journal refuses, and says so', async () => {
  await comesBackWith(() =>
    Promise.reject(new JournalError(folder, 'has no thread any more', 'Start the replica again.')),
  );
});

it('comes back within seconds while the journal hangs, and says so', async () => {
  await comesBackWith(() => hanging.promise);
});
