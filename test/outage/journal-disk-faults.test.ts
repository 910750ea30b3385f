/**
 * Disks that fail under a running service: an enqueue with Redis there goes on, one with Redis away is refused and
 * never acknowledged falsely, what was kept stays, and it recovers by itself where the disk does.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { killServices, ServiceProcess } from '../support/service-process.ts';
import { canMount, fillUp, mountSmall } from '../support/small-disk.ts';
import { hasStrace } from './faults/strace.ts';

const CHILD = fileURLToPath(new URL('../support/journal-child.ts', import.meta.url));
const WORKER = `import { defineWorker } from 'holdfast';
  export default defineWorker({ queue: 'echo', handler: () => ({}) });`;

let redis: RedisServer;
let folder: string;
let service: ServiceProcess;
/** Ids that were acknowledged, and those that were refused. */
let kept: string[];
let refused: string[];

beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
  folder = mkdtempSync(join(tmpdir(), 'holdfast-faults-'));
  mkdirSync(join(folder, 'workers'));
  writeFileSync(join(folder, 'workers', 'echo.ts'), WORKER);
  kept = [];
  refused = [];
});
afterEach(async () => {
  await killServices();
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function start(journal: string, env: Record<string, string> = {}): Promise<void> {
  service = new ServiceProcess({
    ...env,
    REDIS_URL: redis.url,
    WORKERS_DIR: join(folder, 'workers'),
    JOURNAL_DIR: journal,
    REPLICA: 'one',
  });
  await service.until('service.started');
}

interface Answer {
  status: number;
  stored: string | undefined;
  code: string | undefined;
}

async function enqueue(count: number, data: object = {}): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (let n = 0; n < count; n += 1) {
    const jobId = `job-${kept.length + refused.length}`;
    const response = await fetch(`${service.url}/v1/queues/echo/jobs`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ data, options: { jobId } }),
      // The enqueue's own deadline is 2 s.
      signal: AbortSignal.timeout(4000),
    });
    const { stored, code } = (await response.json()) as Answer;
    (response.status === 202 ? kept : refused).push(jobId);
    answers.push({ status: response.status, stored, code });
  }
  return answers;
}

const ready = async () => {
  const response = await fetch(`${service.url}/readyz`);
  const { status, reason } = (await response.json()) as { status: string; reason?: string };
  return { code: response.status, status, reason };
};

async function redisAway(): Promise<void> {
  const before = service.of('outage.opened').length;
  await redis.kill();
  await service.until('outage.opened', before + 1);
}

async function expectAllRun(): Promise<void> {
  const stateOf = async (id: string) => {
    const job = await fetch(`${service.url}/v1/queues/echo/jobs/${id}`);
    return ((await job.json()) as { state?: string }).state;
  };
  await expect
    .poll(() => Promise.all(kept.map(stateOf)), { timeout: 20_000 })
    .toEqual(kept.map(() => 'completed'));
  expect(await Promise.all(refused.map(stateOf))).toEqual(refused.map(() => undefined));
}

const UNUSABLE = { status: 503, code: 'HOLDFAST_JOURNAL_UNUSABLE' };

/** All of it with a disk that begins to fail in an outage; leaves Redis away. */
async function failsInAnOutage(journal: string, spoil: () => Promise<void> | void): Promise<void> {
  await start(journal);
  await expect.poll(async () => (await enqueue(1))[0]?.stored).toBe('redis');
  // What is under way when its process is killed is run again only when it has stalled.
  await expectAllRun();
  await redisAway();
  for (const answer of await enqueue(5)) expect(answer).toMatchObject({ stored: 'journal' });
  await spoil();
  for (const answer of await enqueue(20)) expect(answer).toMatchObject(UNUSABLE);
  expect(await ready()).toMatchObject({ code: 503, reason: expect.stringContaining('disk') });
  expect(service.of('journal.refuses')).toEqual([
    expect.objectContaining({ path: join(journal, 'one') }),
  ]);
}

/** Redis is there, and the disk fails: nobody notices. */
async function failsInCalmWeather(spoil: () => Promise<void> | void): Promise<void> {
  await expect.poll(async () => (await enqueue(1))[0]?.stored, { timeout: 20_000 }).toBe('redis');
  await spoil();
  for (const answer of await enqueue(20)) expect(answer).toMatchObject({ stored: 'redis' });
  await expectAllRun();
  expect(await ready()).toMatchObject({ code: 200, status: 'ok' });
}

/** Recovers by itself: nobody enqueues at a replica that says that it is not ready. */
async function recovers(): Promise<void> {
  await expect.poll(async () => (await ready()).code).toBe(200);
  for (const answer of await enqueue(5)) expect(answer).toMatchObject({ stored: 'journal' });
  await redis.restart();
  await expectAllRun();
}

/** Every write and fsync of these files by this process fails while the tracer is attached. */
async function failWrites(journal: string): Promise<() => Promise<void>> {
  const files = ['journal.db', 'journal.db-wal'].flatMap((name) => [
    '-P',
    join(journal, 'one', name),
  ]);
  const calls = 'pwrite64,fsync,fdatasync';
  const inject = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=EIO`];
  const pid = `${service.child.pid}`;
  const tracer: ChildProcess = spawn(
    'strace',
    ['-f', '-o', join(folder, 'trace'), ...inject, ...files, '-p', pid],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  // "Process … attached".
  await once(tracer.stderr!, 'data');
  return async () => {
    tracer.kill('SIGTERM');
    await once(tracer, 'exit');
  };
}

function limitFileSize(bytes: number | 'unlimited'): void {
  // The soft limit: the hard one cannot be raised again.
  execFileSync('prlimit', ['--pid', `${service.child.pid}`, `--fsize=${bytes}:unlimited`]);
}

const has = (command: string, args: string[]) => spawnSync(command, args).status === 0;

describe('a service whose disk fails while it runs', () => {
  it.runIf(hasStrace())('refuses on input/output errors, and recovers', async () => {
    const journal = join(folder, 'journal');
    let mend = async () => {};
    const spoil = async () => {
      mend = await failWrites(journal);
    };
    await failsInAnOutage(journal, spoil);
    await mend();
    await recovers();
    await failsInCalmWeather(spoil);
    await mend();
  });

  it.runIf(has('prlimit', ['--version']))(
    'refuses where a file may not grow any more, and recovers',
    async () => {
      await failsInAnOutage(join(folder, 'journal'), () => limitFileSize(1000));
      limitFileSize('unlimited');
      await recovers();
      await failsInCalmWeather(() => limitFileSize(1000));
      limitFileSize('unlimited');
    },
  );

  it.runIf(canMount && has('mkfs.ext4', ['-V']))(
    'refuses on a file system that went read-only, and brings what it kept after it was mounted anew',
    async () => {
      const image = join(folder, 'image');
      const disk = join(folder, 'disk');
      mkdirSync(disk);
      writeFileSync(image, '');
      truncateSync(image, 16 * 1024 * 1024);
      execFileSync('mkfs.ext4', ['-q', '-F', image]);
      const mount = () => execFileSync('mount', ['-o', 'loop', image, disk]);
      // What ext4 does by itself after an error.
      const abort = () => void execFileSync('mount', ['-o', 'remount,abort', disk]);
      mount();
      try {
        const journal = join(disk, 'journal');
        await failsInAnOutage(journal, abort);
        await service.stop('SIGKILL');
        execFileSync('umount', [disk]);
        mount();
        await start(journal);
        await recovers();
        await failsInCalmWeather(abort);
      } finally {
        await killServices();
        execFileSync('umount', ['--lazy', disk]);
      }
    },
  );

  it.runIf(canMount)(
    'starts on a disk that is full to the last byte, brings what it kept and is ready again',
    async () => {
      const { dir, end } = mountSmall('16m');
      try {
        const journal = join(dir, 'journal');
        // All that it writes is there.
        const env = { DATA_DIR: dir };
        await start(journal, env);
        await expect.poll(async () => (await enqueue(1))[0]?.stored).toBe('redis');
        await expectAllRun();
        await redisAway();
        for (const bytes of [200_000, 20_000, 100]) {
          let status = 202;
          while (status === 202) {
            status = (await enqueue(1, { pad: 'x'.repeat(bytes) }))[0]!.status;
          }
          expect(status).toBe(507);
        }
        await service.stop('SIGKILL');
        const filler = fillUp(dir);
        await start(journal, env);
        await expect.poll(ready).toMatchObject({
          code: 503,
          reason: expect.stringContaining('its disk is full'),
        });
        await redis.restart();
        await expectAllRun();
        // The journal has given its room back, and the disk is as full as before by the others only.
        await service.until('journal.accepts');
        await redisAway();
        expect(await ready()).toMatchObject({ code: 200, status: 'degraded' });
        rmSync(filler);
        await recovers();
      } finally {
        await killServices();
        end();
      }
    },
  );

  it('is gone from its place for nobody when its folder is removed', async () => {
    const journal = join(folder, 'journal');
    await start(journal);
    await expect.poll(async () => (await enqueue(1))[0]?.stored).toBe('redis');
    await expectAllRun();
    await redisAway();
    await enqueue(5);
    rmSync(journal, { recursive: true });
    for (const answer of await enqueue(5)) expect(answer).toMatchObject({ stored: 'journal' });
    await service.stop('SIGKILL');
    await start(journal);
    await redis.restart();
    await expectAllRun();
    expect(kept).toHaveLength(11);
  });
});

/** The first line of a process that opens a journal with so many files; its errors if there is none. */
async function firstWords(journal: string, files: number): Promise<string> {
  const args = [`--nofile=${files}`, process.execPath, CHILD, journal, 'one', '0'];
  const child = spawn('prlimit', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const { promise, resolve } = Promise.withResolvers<void>();
  const hear = (text: Buffer) => {
    said += text;
  };
  child.stdout.on('data', hear).on('data', () => resolve());
  child.stderr.on('data', hear);
  child.on('close', () => resolve());
  await promise;
  child.kill('SIGKILL');
  return said;
}

it.runIf(has('prlimit', ['--version']))(
  'opens a journal or refuses it by its path, however few files the process may open',
  async () => {
    const ends: string[] = [];
    for (let files = 24; files <= 48 && ends.at(-1) !== 'open'; files += 2) {
      const journal = join(folder, `journal-${files}`);
      const said = await firstWords(journal, files);
      if (said.startsWith('open')) ends.push('open');
      else if (said.startsWith(`refused The journal at ${journal}/one `)) ends.push('refused');
      // Node itself may not get as far as to our code.
      else expect(said).toContain('EMFILE');
    }
    expect(ends).toContain('refused');
    expect(ends.at(-1)).toBe('open');
  },
);
