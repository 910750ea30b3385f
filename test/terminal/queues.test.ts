/** What an operator does to queues from the command line, with Redis and without. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue, Worker } from 'bullmq';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config.ts';
import { runCommand } from '../support/command.ts';
import { testConfig } from '../support/config.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';

let redis: RedisServer;
let folder: string;
let config: Partial<Config>;
let mail: Queue;

beforeAll(async () => {
  redis = await startRedis();
  folder = mkdtempSync(join(tmpdir(), 'holdfast-test-cli-'));
  config = await configOf(redis.url);
});
beforeEach(() => {
  mail = new Queue('mail', { connection: { url: redis.url } });
});
afterEach(async () => {
  await mail.close();
  await redis.command('FLUSHALL');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function configOf(url: string): Promise<Partial<Config>> {
  return {
    dataDir: folder,
    http: { ...testConfig().http, port: await freePort() },
    redis: { ...testConfig().redis, url },
  };
}

const add = (count: number, opts = {}) =>
  mail.addBulk(Array.from({ length: count }, (_, n) => ({ name: 'send', data: { n }, opts })));

/** So many jobs that have failed, with BullMQ's own worker. */
async function fail(count: number): Promise<void> {
  await add(count, { attempts: 2 });
  const worker = new Worker(
    'mail',
    async (job) => {
      throw new Error(`no such recipient: ${job.data.n}`);
    },
    { connection: { url: redis.url }, concurrency: 50 },
  );
  await expect.poll(() => mail.getFailedCount(), { timeout: 15_000 }).toBe(count);
  await worker.close();
}

const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await runCommand([...args, '--json'], config);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
};

describe('holdfast pause and resume', () => {
  it('holds a queue back from plain workers too, and lets it go on', async () => {
    await add(3);
    expect(await json('pause', 'mail')).toEqual({
      queue: 'mail',
      isPaused: true,
      waiting: 3,
      active: 0,
    });
    expect(await mail.isPaused()).toBe(true);
    const again = await runCommand(['pause', 'mail'], config);
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(again.stdout).toMatch(/mail is paused: 3 jobs wait[\s\S]*holdfast resume mail/);
    expect((await runCommand(['status'], config)).stdout).toMatch(/^mail .*paused$/m);
    expect(await json('resume', 'mail')).toMatchObject({ isPaused: false });
    expect(await mail.isPaused()).toBe(false);
  });

  it('refuses a queue that does not exist, and pauses nothing', async () => {
    await add(1);
    const { code, stdout, stderr } = await runCommand(['pause', 'mial'], config);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/no queue "mial"[\s\S]*Did you mean "mail"\?/);
    expect(await redis.command('KEYS', 'bull:mial:*')).toEqual([]);
  });
});

describe('holdfast failed and retry', () => {
  it('tells which jobs failed, how often, when and why, the newest first', async () => {
    await fail(3);
    const { total, jobs } = await json('failed', 'mail', '--limit', '2');
    expect(total).toBe(3);
    expect(jobs).toHaveLength(2);
    expect(jobs[0]).toMatchObject({
      name: 'send',
      attemptsMade: 2,
      attempts: 2,
      reason: expect.stringContaining('no such recipient'),
      stack: [expect.stringContaining('Error: no such'), expect.any(String)],
    });
    expect(Date.parse(jobs[0].failedAt)).toBeGreaterThanOrEqual(Date.parse(jobs[1].failedAt));
    const { stdout } = await runCommand(['failed', 'mail'], config);
    expect(stdout).toMatch(/^id +name +attempts +failed +reason$/m);
    expect(stdout).toMatch(/send +2 of 2 +\d+ s ago +no such recipient: \d/);
    expect(stdout).not.toContain('\u001b');
  });

  it('lets all that failed wait again, each once', async () => {
    await fail(1200);
    expect(await json('retry', 'mail', '--all')).toEqual({
      queue: 'mail',
      retried: 1200,
      refused: [],
    });
    expect(await mail.getJobCounts('failed', 'wait')).toEqual({ failed: 0, wait: 1200 });
    expect(await json('retry', 'mail', '--all')).toMatchObject({ retried: 0 });
  });

  it('retries the jobs that are named, and says why another cannot be', async () => {
    await fail(2);
    const [one, two] = await mail.getFailed();
    const [waiting] = await add(1);
    const args = ['retry', 'mail', '--id', one!.id!, 'none', waiting!.id!];
    const { code, stdout, stderr } = await runCommand(args, config);
    expect(code).toBe(2);
    expect(stdout).toMatch(/1 failed job of mail waits again/);
    expect(stderr).toMatch(/none: there is no such job[\s\S]*it has not failed, it is waiting/);
    expect(await mail.getJobState(two!.id!)).toBe('failed');
  });

  it('wants to know which jobs', async () => {
    await add(1);
    const { code, stderr } = await runCommand(['retry', 'mail'], config);
    expect(code).toBe(2);
    expect(stderr).toMatch(/--all or --id/);
  });
});

describe('holdfast empty', () => {
  it('removes what waits, in any number, and leaves the rest', async () => {
    await add(1100);
    await add(2, { priority: 3 });
    await add(2, { delay: 60_000 });
    expect(await json('empty', 'mail', '--yes')).toEqual({
      queue: 'mail',
      removed: { waiting: 1100, prioritized: 2 },
    });
    expect(await mail.getJobCounts('wait', 'prioritized', 'delayed')).toEqual({
      wait: 0,
      prioritized: 0,
      delayed: 2,
    });
    const failed = await runCommand(['empty', 'mail', '--state', 'failed', '--yes'], config);
    expect(failed).toMatchObject({ code: 0, stdout: 'mail has no failed jobs.\n' });
  });

  it('removes nothing where nobody can be asked', async () => {
    await add(2);
    const { code, stderr } = await runCommand(['empty', 'mail'], config, 'y\n');
    expect(code).toBe(2);
    expect(stderr).toMatch(/--yes/);
    expect(await mail.getWaitingCount()).toBe(2);
  });

  it('leaves a schedule its next job', async () => {
    await mail.upsertJobScheduler('nightly', { every: 3_600_000, offset: 60_000 });
    await add(1);
    await json('empty', 'mail', '--state', 'all', '--yes');
    expect(await mail.getDelayedCount()).toBe(1);
  });
});

it('holdfast schedules lists those of all queues', async () => {
  await mail.upsertJobScheduler('a', { pattern: '0 3 * * *', tz: 'Europe/Berlin' }, { name: 'x' });
  await mail.upsertJobScheduler('b', { every: 300_000 });
  const { schedules } = await json('schedules');
  expect(schedules).toMatchObject([
    { queue: 'mail', id: 'b', everyMs: 300_000, next: expect.any(String) },
    { queue: 'mail', id: 'a', cron: '0 3 * * *', timezone: 'Europe/Berlin', jobName: 'x' },
  ]);
  const { stdout } = await runCommand(['schedules', 'mail'], config);
  expect(stdout).toMatch(/^mail +a +0 3 \* \* \* \(Europe\/Berlin\) +in /m);
  expect(stdout).toMatch(/^mail +b +every 5 min /m);
});

it('without the right to list keys, status shows the queues that the replicas name', async () => {
  await add(2);
  const acl = ['on', '>pw', '~bull:*', '+@all', '-scan'];
  await redis.command('ACL', 'SETUSER', 'operator', ...acl);
  const replica = {
    ...{ id: 'r1', replica: 'web-1', version: '1.0.0', host: 'h', pid: 1, state: 'running' },
    ...{ breaker: 'closed', startedAt: new Date().toISOString(), seenAt: new Date().toISOString() },
    queues: [{ queue: 'mail', concurrency: 5, running: 0, isConsuming: true }],
  };
  await redis.command('SET', 'bull:holdfast:replica:r1', JSON.stringify(replica));
  await redis.command('ZADD', 'bull:holdfast:replicas', '1', 'r1');
  const limited = await configOf(redis.url.replace('//', '//operator:pw@'));
  const { code, stdout } = await runCommand(['status'], limited);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^web-1 +running +closed .*mail 0\/5$/m);
  expect(stdout).toMatch(/^mail +2 /m);
  expect(stdout).toMatch(/There may be more queues: this user may not list keys/);
});

describe('while Redis is away', () => {
  const COMMANDS = [
    ['pause', 'mail'],
    ['resume', 'mail'],
    ['failed', 'mail'],
    ['retry', 'mail', '--all'],
    ['empty', 'mail', '--yes'],
    ['schedules'],
    ['status'],
  ];

  it('every command says in which condition it is and what to do, and exits 69', async () => {
    const gone = await configOf(`redis://127.0.0.1:${await freePort()}`);
    const ends = COMMANDS.map(async (args) => ({ args, ...(await runCommand(args, gone)) }));
    for (const { args, code, stdout, stderr } of await Promise.all(ends)) {
      expect({ args, code, stdout }).toEqual({ args, code: 69, stdout: '' });
      expect(stderr).toMatch(/away \(refused\)[\s\S]*Check that redis-server runs/);
    }
  });

  it('a frozen server and a wrong password are told apart, and nothing hangs', async () => {
    await using frozen = await startRedis();
    frozen.freeze();
    const stuck = await runCommand(['pause', 'mail'], await configOf(frozen.url));
    frozen.thaw();
    expect(stuck.code).toBe(69);
    expect(stuck.stderr).toMatch(/away \(frozen\)/);
    await using locked = await startRedis({ args: ['--requirepass', 'secret'] });
    const url = locked.url.replace('//', '//:wrong-word@');
    const denied = await runCommand(['failed', 'mail'], await configOf(url));
    expect(denied.code).toBe(69);
    expect(denied.stderr).toMatch(/away \(wrong-password\)/);
    expect(denied.stderr).not.toMatch(/wrong-word/);
  });

  it('what was done before stays done, and the rest can be done by the same command', async () => {
    await using mortal = await startRedis({ aof: 'always' });
    const queue = new Queue('big', { connection: { url: mortal.url } });
    queue.on('error', () => {});
    for (let batch = 0; batch < 20; batch += 1) {
      await queue.addBulk(Array.from({ length: 1000 }, () => ({ name: 'x', data: {} })));
    }
    const target = await configOf(mortal.url);
    const emptying = runCommand(['empty', 'big', '--yes'], target);
    await expect
      .poll(() => queue.getWaitingCount(), { interval: 5, timeout: 20_000 })
      .toBeLessThan(19_000);
    mortal.freeze();
    const { code, stderr } = await emptying;
    mortal.thaw();
    expect(code).toBe(69);
    expect(stderr).toMatch(/Emptying \([\d,]+ jobs removed\) did not come to its end/);
    const left = await queue.getWaitingCount();
    expect(left).toBeGreaterThan(0);
    const again = await runCommand(['empty', 'big', '--yes', '--json'], target);
    expect(again.code).toBe(0);
    // The batch that was under way may have acted when the server woke.
    const { waiting } = JSON.parse(again.stdout).removed;
    expect([left, left - 500]).toContain(waiting);
    expect(await queue.getWaitingCount()).toBe(0);
    await queue.close();
  });

  it('a server that takes no writes is named when it refuses', async () => {
    await add(1);
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    const { code, stderr } = await runCommand(['pause', 'mail'], config);
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    expect(code).toBe(69);
    expect(stderr).toMatch(/away \(out-of-memory\)[\s\S]*did not come to its end/);
  });
});
