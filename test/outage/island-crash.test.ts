/**
 * A process that dies while jobs run from its journal, at each step of their way. What a crash leaves is what
 * is on disk at that moment: the journal's folder is copied then, and the next life begins with the copy.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Journal, openJournal } from '../../src/journal/journal.ts';
import { bring } from '../../src/queue/island-return.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';
import { fromEntry } from '../../src/queue/outcome-store.ts';
import { systemClock } from '../../src/time.ts';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import { cutOff } from '../support/island.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget } from '../support/target.ts';
import { plainQueue, startRuntime, type TestRuntime } from '../support/worker-runtime.ts';

let redis: RedisServer;
let folder: string;
/** Job names and the life that ran them. */
let runs: string[];
/** While a job has one it does not end, or its end is not written. */
let handlerGate: PromiseWithResolvers<void> | undefined;
let journalGate: PromiseWithResolvers<void> | undefined;
let outcomesHeld: number;
/** When an attempt failed last, ms since the epoch. */
let failedAt: number;

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
  folder = mkdtempSync(join(tmpdir(), 'holdfast-crash-'));
  runs = [];
  handlerGate = undefined;
  journalGate = undefined;
  outcomesHeld = 0;
});
afterEach(async () => {
  await redis.stop();
  rmSync(folder, { recursive: true });
});

function definition(life: string): WorkerDefinition {
  return {
    queue: 'q',
    island: true,
    attempts: 2,
    backoff: 1500,
    handler: async (job) => {
      runs.push(`${job.name} ${job.attemptsMade} ${life}`);
      await job.log(`by the ${life}`);
      await job.updateProgress(job.attemptsMade + 1);
      await handlerGate?.promise;
      const isHard = job.name === 'hard' || (job.name === 'twice' && job.attemptsMade === 0);
      failedAt = Date.now();
      if (isHard) throw new Error(`not by the ${life}`);
      return life;
    },
  };
}

/** Lets outcomes wait at the gate before they are written. */
function gated(journal: Journal): Journal {
  return new Proxy(journal, {
    get(target, name: keyof Journal) {
      const value = target[name];
      if (name === 'append') {
        return async (entry: Parameters<Journal['append']>[0]) => {
          if (entry.type === 'outcome' && journalGate) {
            outcomesHeld += 1;
            await journalGate.promise;
          }
          return await target.append(entry);
        };
      }
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const dirOf = (life: string) => join(folder, life);

/** Its Redis is dead. */
function firstLife(): Promise<TestRuntime> {
  return cutOff(redis, [definition('first')], { journalDir: dirOf('first'), journal: gated });
}

/** The copy of what is on disk is all that stays. */
async function crash(first: TestRuntime): Promise<void> {
  cpSync(dirOf('first'), dirOf('second'), { recursive: true });
  handlerGate?.resolve();
  journalGate?.resolve();
  await first[Symbol.asyncDispose]();
  handlerGate = undefined;
  journalGate = undefined;
}

function secondLife(rollbackWindowMs = 10_000): Promise<TestRuntime> {
  return startRuntime(redis.url, [definition('second')], {
    journalDir: dirOf('second'),
    resilience: { rollbackWindowMs },
  });
}

/** One job, and a crash when it has come so far; then Redis and the next life. */
async function crashed(
  name: string,
  until: (first: TestRuntime) => Promise<unknown>,
  options: object = {},
): Promise<{ id: string; second: TestRuntime; endedBy: number }> {
  const first = await firstLife();
  if (name === 'waits') first.target.limitSlots('q', 0);
  const { id } = await first.client.enqueue('q', name, { n: 1 }, options);
  await until(first);
  const endedBy = Date.now();
  await crash(first);
  await redis.restart();
  return { id, second: await secondLife(), endedBy };
}

const isRunning = () => expect.poll(() => runs.length).toBe(1);
const isHeld = () => expect.poll(() => outcomesHeld).toBe(1);
const hasEnded = (first: TestRuntime) => expect.poll(() => outcomesOf(first)).toBe(1);
const outcomesOf = ({ target }: TestRuntime) => target.journal.stats().outcomes;

describe('a job of the journal whose process dies', () => {
  it.each<[string, string, (first: TestRuntime) => Promise<unknown>, string[], string]>([
    ['when it was accepted', 'waits', async () => {}, ['waits 0 second'], 'second'],
    ['while it runs', 'slow', isRunning, ['slow 0 first', 'slow 0 second'], 'second'],
    [
      'when its handler is done and that is not on disk',
      'held',
      isHeld,
      ['held 0 first', 'held 0 second'],
      'second',
    ],
    ['when its end is on disk', 'ends', hasEnded, ['ends 0 first'], 'first'],
  ])('%s is in Redis afterwards, and ran again only if its end was not on disk', async (...row) => {
    const [, name, until, wanted, by] = row;
    if (name === 'slow') handlerGate = Promise.withResolvers();
    if (name === 'held') journalGate = Promise.withResolvers();
    const { id, second, endedBy } = await crashed(name, until);
    await using _second = second;
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getJobState(id), { timeout: 10_000 }).toBe('completed');
    const job = (await queue.getJob(id))!;
    expect([job.returnvalue, job.progress, job.attemptsMade]).toEqual([by, 1, 1]);
    expect((await queue.getJobLogs(id)).logs).toEqual([`by the ${by}`]);
    expect(job.timestamp).toBeLessThanOrEqual(job.processedOn!);
    expect(job.processedOn).toBeLessThanOrEqual(job.finishedOn!);
    if (by === 'first') expect(job.finishedOn).toBeLessThanOrEqual(endedBy);
    else expect(job.processedOn).toBeGreaterThanOrEqual(endedBy);
    expect(runs).toEqual(wanted);
    expect(await queue.getJobCounts()).toMatchObject({ completed: 1, waiting: 0, active: 0 });
  });

  it('between two attempts goes on with the second, after its backoff', async () => {
    const { id, second } = await crashed('twice', hasEnded);
    const dueAt = failedAt + 1500;
    await using _second = second;
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getJobState(id), { timeout: 10_000 }).toBe('completed');
    const job = (await queue.getJob(id))!;
    expect(job.attemptsMade).toBe(2);
    expect(job.stacktrace).toEqual([expect.stringContaining('not by the first')]);
    expect((await queue.getJobLogs(id)).logs).toEqual(['by the first', 'by the second']);
    expect(job.processedOn).toBeGreaterThanOrEqual(dueAt - 1);
    expect(runs).toEqual(['twice 0 first', 'twice 1 second']);
  });

  it('after its second attempt says why the first failed', async () => {
    const first = await firstLife();
    const { id } = await first.client.enqueue('q', 'twice', {}, { backoff: 1 });
    await first.line('job.completed', { jobId: id });
    await crash(first);
    await redis.restart();
    await using _second = await secondLife();
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getJobState(id), { timeout: 10_000 }).toBe('completed');
    const job = (await queue.getJob(id))!;
    expect([job.returnvalue, job.attemptsMade]).toEqual(['first', 2]);
    expect([job.failedReason, job.processedBy]).toEqual(['not by the first', 'test-1']);
    expect(job.stacktrace).toEqual([expect.stringContaining('not by the first')]);
    expect(runs).toEqual(['twice 0 first', 'twice 1 first']);
  });

  it('when it has failed for good says why, and is removed if that was asked for', async () => {
    const first = await firstLife();
    const kept = await first.client.enqueue('q', 'hard', {}, { backoff: 1 });
    const brief = { backoff: 1, removeOnFail: true };
    const removed = await first.client.enqueue('q', 'hard', {}, brief);
    for (const jobId of [kept.id, removed.id]) await first.line('job.failed', { jobId });
    await crash(first);
    await redis.restart();
    await using second = await secondLife(300);
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getJobState(kept.id), { timeout: 10_000 }).toBe('failed');
    const job = (await queue.getJob(kept.id))!;
    expect([job.failedReason, job.attemptsMade]).toEqual(['not by the first', 2]);
    expect(job.stacktrace).toHaveLength(2);
    await expect.poll(() => second.target.journal.stats().entries).toBe(0);
    expect(await queue.getJob(removed.id)).toBeUndefined();
    expect(await queue.getJobCounts()).toMatchObject({ failed: 1, waiting: 0, active: 0 });
    expect(runs).toHaveLength(4);
  });

  it('when Redis has it and the journal has it still is neither run nor added again, also when it was removed', async () => {
    const first = await firstLife();
    const stays = await first.client.enqueue('q', 'ends', {});
    const goes = await first.client.enqueue('q', 'ends', {});
    await expect.poll(() => outcomesOf(first)).toBe(2);
    await using queue = plainQueue(redis.url, 'q');
    await redis.restart();
    await expect.poll(() => queue.getCompletedCount(), { timeout: 10_000 }).toBe(2);
    expect(first.target.journal.stats()).toMatchObject({ jobs: 2, outcomes: 2 });
    await crash(first);
    await (await queue.getJob(goes.id))!.remove();
    await using second = await secondLife(300);
    await expect.poll(() => second.target.journal.stats().entries).toBe(0);
    expect(await queue.getJob(goes.id)).toBeUndefined();
    expect((await queue.getJob(stays.id))!.returnvalue).toBe('first');
    expect(await queue.getJobCounts()).toMatchObject({ completed: 1, waiting: 0, active: 0 });
    expect(runs).toEqual(['ends 0 first', 'ends 0 first']);
  });

  it('is in Redis again with its end when that loses both, and does not run again', async () => {
    const first = await firstLife();
    const { id } = await first.client.enqueue('q', 'ends', {});
    await hasEnded(first);
    await redis.restart();
    const before = redis.snapshotAof();
    await using queue = plainQueue(redis.url, 'q');
    await expect.poll(() => queue.getJobState(id), { timeout: 10_000 }).toBe('completed');
    await crash(first);
    await redis.restartFrom(before);
    expect(await queue.getJobState(id)).toBe('unknown');
    await using _second = await secondLife();
    await expect.poll(() => queue.getJobState(id), { timeout: 10_000 }).toBe('completed');
    expect((await queue.getJob(id))!.returnvalue).toBe('first');
    expect(runs).toEqual(['ends 0 first']);
  });

  it('ends as its run ended when Redis has it active, without its end, and nobody keeps its lock', async () => {
    const first = await firstLife();
    const { id } = await first.client.enqueue('q', 'ends', {});
    await hasEnded(first);
    await crash(first);
    await redis.restart();
    await onItsWay(id);
    await using queue = plainQueue(redis.url, 'q');
    expect(await queue.getJobState(id)).toBe('active');
    await using _second = await secondLife();
    await expect.poll(() => queue.getJobState(id), { timeout: 10_000 }).toBe('completed');
    expect((await queue.getJob(id))!.returnvalue).toBe('first');
    expect(runs).toEqual(['ends 0 first']);
  });
});

/** The job is added for its run, its process dies before the end is written, and its lock runs out. */
async function onItsWay(id: string): Promise<void> {
  const target = await startTarget(redis.url);
  await expect.poll(() => target.state().breaker).toBe('closed');
  const journal = await openJournal({
    dir: dirOf('second'),
    replica: `test-${process.pid}`,
    mode: 'disk',
    bytesMax: 2 ** 26,
    entriesMax: 1000,
    clock: systemClock,
    log: pino({ level: 'silent' }),
  });
  const ledger = new QueueLedger('bull', 'q');
  for await (const entry of journal.outcomes()) {
    ledger.unsettled.set(entry.jobId, fromEntry(entry));
  }
  for await (const { position } of journal.jobs()) {
    const deps = { journal, ledger: () => ledger, isOutage: () => true, log: undefined as never };
    await bring(deps, target.generation()!, [position], () => false);
  }
  await target.generation()!.client.del(ledger.toKey(`${id}:lock`));
  await journal.close();
  await target.stop(systemClock.now() + 1000);
}
