/** `config/schedules.json` in Redis: written, changed, removed, and by whom. */
import { EventEmitter, once } from 'node:events';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseSchedules } from '../../src/queue/schedule-file.ts';
import { createSchedules } from '../../src/queue/schedules.ts';
import { systemClock } from '../../src/time.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget } from '../support/target.ts';
import { plainQueue, startRuntime } from '../support/worker-runtime.ts';

let server: RedisServer;
beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  await server.stop();
});

const day = { queue: 'q', cron: '0 4 * * *', timezone: 'Europe/Berlin' };

/** A replica with a file; `said` resolves when its log has an event again. */
async function replica(url: string, file: unknown, checkMs = 60_000) {
  const events = new EventEmitter();
  const log = pino(
    { level: 'debug' },
    { write: (text: string) => void events.emit(JSON.parse(text).event, JSON.parse(text)) },
  );
  const target = await startTarget(url);
  const schedules = createSchedules({
    file: parseSchedules(JSON.stringify(file), 'config/schedules.json', 1e6),
    queues: ['q'],
    target,
    prefix: 'bull',
    log,
    clock: systemClock,
    checkMs,
  });
  return {
    schedules,
    said: async (event: string) => (await once(events, event))[0] as Record<string, unknown>,
    async [Symbol.asyncDispose]() {
      await schedules.stop(systemClock.now() + 1000);
      await target.stop(systemClock.now() + 1000);
    },
  };
}

async function start(r: Awaited<ReturnType<typeof replica>>, until: string) {
  const said = r.said(until);
  await r.schedules.start();
  return await said;
}

async function ids(queue: ReturnType<typeof plainQueue>): Promise<string[]> {
  return (await queue.getJobSchedulers()).map(({ key }) => key).sort();
}

describe('schedules', () => {
  it('are written with the owner’s mark, and their jobs run', async () => {
    await using queue = plainQueue(server.url, 'q');
    await using first = await replica(server.url, [
      { id: 'nightly', ...day, data: { n: 1 }, options: { attempts: 3 } },
      { id: 'often', queue: 'q', every: 100, name: 'tick', data: { n: 2 } },
    ]);
    await start(first, 'schedules.applied');
    expect(await ids(queue)).toEqual(['holdfast/nightly', 'holdfast/often']);
    expect(await queue.getJobScheduler('holdfast/nightly')).toMatchObject({
      name: 'nightly',
      pattern: '0 4 * * *',
      tz: 'Europe/Berlin',
      template: { data: { n: 1 }, opts: { attempts: 3 } },
    });
    await using worker = await startRuntime(server.url, [
      { queue: 'q', handler: (job) => job.data.n },
    ]);
    const { jobId } = await worker.line('job.completed', { jobName: 'tick' });
    expect((await queue.getJob(String(jobId)))?.returnvalue).toBe(2);
    await expect
      .poll(() => worker.lines.filter(({ event }) => event === 'job.completed').length)
      .toBeGreaterThan(2);
  });

  it('of a pattern that BullMQ does not know are told of: their run waits for a worker that knows it', async () => {
    const repeatStrategy = (now: number) => now + 60_000;
    await using queue = plainQueue(server.url, 'q', { settings: { repeatStrategy } });
    await queue.upsertJobScheduler('rule', { pattern: 'FREQ=DAILY' });
    const [run] = await queue.getDelayed();
    await run!.promote();
    await using worker = await startRuntime(server.url, [{ queue: 'q', handler: () => 1 }]);
    expect(await worker.line('schedules.stuck')).toMatchObject({ level: 40, queue: 'q' });
  });

  it('stay as they are when the file is the same, change and go with it; foreign ones stay', async () => {
    await using queue = plainQueue(server.url, 'q');
    await queue.upsertJobScheduler('foreign', { every: 60_000 });
    {
      await using first = await replica(server.url, [
        { id: 'a', queue: 'q', every: 60_000 },
        { id: 'b', ...day },
        { id: 'c', ...day },
      ]);
      expect(await start(first, 'schedules.applied')).toMatchObject({ written: ['a', 'b', 'c'] });
    }
    const before = await queue.getJobScheduler('holdfast/a');
    await using second = await replica(server.url, [
      { id: 'a', queue: 'q', every: 60_000 },
      { id: 'b', ...day, cron: '0 5 * * *' },
    ]);
    expect(await start(second, 'schedules.applied')).toMatchObject({
      written: ['b'],
      removed: ['c'],
    });
    expect(await ids(queue)).toEqual(['foreign', 'holdfast/a', 'holdfast/b']);
    expect(await queue.getJobScheduler('holdfast/a')).toEqual(before);
    expect((await queue.getJobScheduler('holdfast/b'))?.pattern).toBe('0 5 * * *');
  });

  it('are not touched by a replica with an older file while one with the newer runs', async () => {
    await using queue = plainQueue(server.url, 'q');
    const old = [{ id: 'old', ...day }];
    {
      await using first = await replica(server.url, old);
      await start(first, 'schedules.applied');
    }
    await using second = await replica(server.url, [{ id: 'new', ...day }], 50);
    await start(second, 'schedules.applied');
    await using restarted = await replica(server.url, old, 1000);
    await start(restarted, 'schedules.outdated');
    expect(await ids(queue)).toEqual(['holdfast/new']);
  });

  it('come back from an older file when nobody with the newer one is left', async () => {
    await using queue = plainQueue(server.url, 'q');
    const old = [{ id: 'old', ...day }];
    for (const file of [old, [{ id: 'new', ...day }]]) {
      await using one = await replica(server.url, file);
      await start(one, 'schedules.applied');
    }
    await using back = await replica(server.url, old, 20);
    await start(back, 'schedules.applied');
    expect(await ids(queue)).toEqual(['holdfast/old']);
  });

  it('follow the higher revision at once', async () => {
    await using queue = plainQueue(server.url, 'q');
    const file = (id: string, revision: number) => ({ revision, schedules: [{ id, ...day }] });
    for (const [id, revision, event] of [
      ['a', 2, 'schedules.applied'],
      ['b', 1, 'schedules.outdated'],
      ['b', 3, 'schedules.applied'],
    ] as const) {
      await using one = await replica(server.url, file(id, revision));
      await start(one, event);
    }
    expect(await ids(queue)).toEqual(['holdfast/b']);
  });

  it('are written when Redis appears after the start, and again when it lost them', async () => {
    const port = await freePort();
    await using late = await replica(`redis://127.0.0.1:${port}`, [{ id: 'a', ...day }]);
    await late.schedules.start();
    const applied = late.said('schedules.applied');
    await using redis = await startRedis({ port });
    await applied;
    const again = late.said('schedules.applied');
    await redis.kill();
    await redis.restart();
    await again;
    await using queue = plainQueue(redis.url, 'q');
    expect(await ids(queue)).toEqual(['holdfast/a']);
  });
});
