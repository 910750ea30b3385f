/**
 * Producers of a running service through a real outage: the command line, HTTP with its keys and its
 * streams, and a journal whose disk is full.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config.ts';
import { runCommand, startCommand } from '../support/command.ts';
import { testConfig } from '../support/config.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';
import { killServices, ServiceProcess } from '../support/service-process.ts';
import { canMount, mountSmall } from '../support/small-disk.ts';

let redis: RedisServer;
let service: ServiceProcess;
let workers: string;
/** Of commands that find the service. */
let near: Partial<Config>;

beforeAll(() => {
  workers = mkdtempSync(join(tmpdir(), 'holdfast-workers-'));
  writeFileSync(
    join(workers, 'echo.ts'),
    `import { defineWorker } from 'holdfast';
     export default defineWorker({ queue: 'echo', handler: (job) => ({ said: job.data.say }) });`,
  );
});
beforeEach(async () => {
  redis = await startRedis({ aof: 'always' });
});
afterEach(async () => {
  await killServices();
  await redis.stop();
});
afterAll(() => rmSync(workers, { recursive: true }));

async function startService(env: Record<string, string> = {}): Promise<void> {
  service = new ServiceProcess({ REDIS_URL: redis.url, WORKERS_DIR: workers, ...env });
  await service.until('service.started');
  near = {
    dataDir: service.dataDir,
    http: { ...testConfig().http, port: Number(new URL(service.url).port) },
  };
}

const jobsUrl = () => `${service.url}/v1/queues/echo/jobs`;

interface Answer {
  status: number;
  body: { id: string; jobs: { id: string }[]; detail: string };
}

async function post(body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(jobsUrl(), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Answer['body'] };
}

async function kill(): Promise<void> {
  const outages = service.of('outage.opened').length;
  await redis.kill();
  await service.until('outage.opened', outages + 1);
}

describe('a service whose Redis is killed', () => {
  it('keeps a job of `enqueue --wait`, says so, and delivers its result afterwards', async () => {
    await startService();
    // Not to be done before Redis is gone.
    const args = ['enqueue', 'echo', '{"say":"hello"}', '--delay', '1s', '--wait'];
    const command = startCommand(args, near);
    await command.said(/delayed/);
    await kill();
    await command.said(/Redis is away \(\w+\); the job is kept/);
    await redis.restart();
    await command.said(/Back again/);
    const { code, stdout, stderr } = await command.result;
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ said: 'hello' });
  });

  it('takes a job of `enqueue` in the outage, and one that waits for its result', async () => {
    await startService();
    await kill();
    const taken = await runCommand(['enqueue', 'echo', '{"say":1}', '--json'], near);
    expect(taken.code, taken.stderr).toBe(0);
    expect(JSON.parse(taken.stdout)).toMatchObject({ queue: 'echo', stored: 'journal' });
    const waiting = startCommand(['enqueue', 'echo', '{"say":2}', '--wait'], near);
    await waiting.said(/journal/);
    await redis.restart();
    const { code, stdout } = await waiting.result;
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ said: 2 });
  });

  it('is needed for that: without it, and without Redis, a job is refused and none is kept', async () => {
    const url = redis.url;
    await redis.kill();
    const alone = {
      dataDir: mkdtempSync(join(tmpdir(), 'holdfast-alone-')),
      http: { ...testConfig().http, port: await freePort() },
      redis: { ...testConfig().redis, url },
    };
    const { code, stdout } = await runCommand(['enqueue', 'echo', '{}'], alone);
    rmSync(alone.dataDir, { recursive: true });
    expect(code).toBe(69);
    expect(stdout).toBe('');
  });

  it('answers a key the same way again, through the outage and after it', async () => {
    await startService();
    const key = { 'Idempotency-Key': 'order-7' };
    const before = await post({ data: { say: 'before' } }, { 'Idempotency-Key': 'order-6' });
    await kill();
    const first = await post({ data: { say: 'once' } }, key);
    const again = await post({ data: { say: 'once' } }, key);
    const other = await post({ data: { say: 'twice' } }, key);
    const early = await post({ data: { say: 'before' } }, { 'Idempotency-Key': 'order-6' });
    expect(first).toMatchObject({ status: 202, body: { stored: 'journal' } });
    expect(again).toEqual(first);
    expect(other.status).toBe(422);
    expect(early).toEqual(before);
    await redis.restart();
    await service.until('journal.replayed');
    await service.until('job.completed', 2);
    expect((await post({ data: { say: 'once' } }, key)).body.id).toBe(first.body.id);
    expect(service.of('job.completed')).toHaveLength(2);
  });

  it('shows a journaled job, and streams its way from the journal to its end', async () => {
    await startService();
    await kill();
    const { body } = await post({ data: { say: 'streamed' } });
    const job = await fetch(`${jobsUrl()}/${body.id}`);
    expect(await job.json()).toMatchObject({ id: body.id, queue: 'echo', state: 'journaled' });
    const stream = await fetch(`${jobsUrl()}/${body.id}/events`);
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of stream.body!) {
      text += decoder.decode(chunk, { stream: true });
      if (redis.pid === undefined && /journaled/.test(text)) await redis.restart();
      if (/event: (completed|failed|timeout|gone)/.test(text)) break;
    }
    expect(text).toMatch(/"state":"journaled"[\s\S]*event: completed[\s\S]*"said":"streamed"/);
  });
});

describe.runIf(canMount)('a service whose journal has a disk of 16 MB', () => {
  it('takes jobs until it is full, refuses with 507, loses none, and takes jobs again', async () => {
    const mount = mountSmall('16m');
    try {
      await startService({ JOURNAL_DIR: join(mount.dir, 'journal') });
      await kill();
      const kept: string[] = [];
      let refused: Answer | undefined;
      while (refused === undefined) {
        const jobs = Array.from({ length: 20 }, () => ({ data: { say: 'x'.repeat(50_000) } }));
        const answer = await post({ jobs });
        if (answer.status === 202) kept.push(...answer.body.jobs.map(({ id }) => id));
        else refused = answer;
      }
      expect(refused).toMatchObject({ status: 507, body: { code: 'HOLDFAST_JOURNAL_FULL' } });
      expect(refused.body.detail).not.toContain(mount.dir);
      expect(kept.length).toBeGreaterThan(100);
      await redis.restart();
      await service.until('journal.replayed');
      for (const id of kept) {
        const job = await (await fetch(`${jobsUrl()}/${id}`)).json();
        expect(job, id).toMatchObject({ state: expect.not.stringMatching('journaled') });
      }
      expect(await post({ data: { say: 'again' } })).toMatchObject({ status: 202 });
    } finally {
      await killServices();
      mount.end();
    }
  });
});

describe('a service that cannot have its journal', () => {
  it.runIf(canMount)(
    'does not start on a read-only disk, and names the folder and the remedy',
    async () => {
      const mount = mountSmall('1m,ro');
      try {
        const journal = join(mount.dir, 'journal');
        const env = { REDIS_URL: redis.url, WORKERS_DIR: workers, JOURNAL_DIR: journal };
        const refused = new ServiceProcess(env);
        expect((await refused.exited).code).not.toBe(0);
        const said = `${refused.stderr}${JSON.stringify(refused.lines)}`;
        expect(said).toContain(journal);
        expect(said).toMatch(/cannot be written[\s\S]*JOURNAL=memory/);
      } finally {
        mount.end();
      }
    },
  );

  it('does not start beside a living one of the same name, which goes on', async () => {
    await startService({ REPLICA: 'one' });
    const env = { REDIS_URL: redis.url, WORKERS_DIR: workers, REPLICA: 'one' };
    const second = new ServiceProcess({ ...env, DATA_DIR: service.dataDir });
    expect((await second.exited).code).not.toBe(0);
    const said = `${second.stderr}${JSON.stringify(second.lines)}`;
    expect(said).toContain(join(service.dataDir, 'journal', 'one'));
    expect(await post({ data: { say: 'still here' } })).toMatchObject({ status: 202 });
  });
});
