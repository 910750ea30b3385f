/**
 * The compose file under fire: replicas in containers, thousands of jobs, a Redis container that is
 * killed, or stopped and started, and replicas that are taken away. Every job that was accepted runs
 * once.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fleet, type Replica, statusOf, until } from './support/fleet.ts';
import { Traffic } from './support/traffic.ts';

const OUTAGE_MS = 20_000;
/** Every answer is due within 2 s (`enqueueTimeout`); the rest is a busy machine's. */
const ANSWER_MS_MAX = 5000;

const perJob = (runs: { byJob: Map<string, number> }) => ({
  jobs: runs.byJob.size,
  runTwice: [...runs.byJob].filter(([, count]) => count > 1).map(([job]) => job),
});

describe('two replicas whose Redis is killed for 20 s', () => {
  const fleet = new Fleet('two');
  const ids: string[] = [];
  let replicas: Replica[];
  let traffic: Traffic;

  beforeAll(async () => {
    await fleet.start(2);
    replicas = await fleet.replicas();
    ids.push(...(await fleet.enqueue(2000, 500)));
    await until(async () => ((await fleet.counts())?.completed ?? 0) > 100, 'work goes on');
    traffic = new Traffic(replicas, 100);
    await fleet.killRedis();
  });
  afterAll(() => fleet.down());

  it('stays alive, says what is wrong, and goes on accepting jobs', async () => {
    const began = performance.now();
    await until(async () => {
      const statuses = await Promise.all(replicas.map(({ url }) => readyStatus(url)));
      return statuses.every((status) => status === 'degraded');
    }, 'every replica has seen it');
    await pause(OUTAGE_MS - (performance.now() - began));
    for (const { id, url } of replicas) {
      expect(await statusOf(`${url}/livez`)).toBe(200);
      expect(await statusOf(`${url}/readyz`)).toBe(200);
      expect(await fleet.health(id)).toBe('healthy');
    }
    expect(traffic.accepted.filter(({ stored }) => stored === 'journal').length).toBeGreaterThan(
      50,
    );
  });

  it('loses no job and runs none twice', async () => {
    await fleet.startRedis();
    await until(async () => (await fleet.counts()) !== null, 'Redis is back');
    await traffic.stop();
    expect(traffic.refused).toEqual([]);
    expect(traffic.slowestMs).toBeLessThan(ANSWER_MS_MAX);
    ids.push(...traffic.accepted.map(({ id }) => id));
    await fleet.finished(ids.length);
    expect(perJob(await fleet.runs())).toEqual({ jobs: ids.length, runTwice: [] });
    expect(await fleet.counts()).toMatchObject({ failed: 0, active: 0, waiting: 0, delayed: 0 });
  });

  it('has written nothing but JSON lines, with the outage and every outcome among them', async () => {
    const lines = await fleet.logLines();
    const of = (event: string) => lines.filter((line) => line.event === event);
    const completed = of('job.completed').filter(({ queue }) => queue === 'count');
    expect(new Set(completed.map(({ jobId }) => jobId))).toEqual(new Set(ids));
    for (const event of ['outage.opened', 'outage.closed']) {
      expect(new Set(of(event).map(({ replica }) => replica)).size).toBe(2);
    }
  });

  it('has answered the questions of the example app', async () => {
    const asked = (await fleet.logLines('app')).flatMap(({ id }) => id ?? []);
    expect(asked.length).toBeGreaterThan(2);
    const answered = new Set((await fleet.logLines()).map(({ jobId }) => jobId));
    // The last one may still be in work.
    expect(asked.slice(0, -1).filter((id) => !answered.has(id))).toEqual([]);
  });

  it('still has its records of the outage when its containers were started again', async () => {
    await fleet.compose('restart', '--timeout', '30', 'worker');
    const { outages } = JSON.parse(await fleet.exec('holdfast', 'outages', '--json')) as {
      outages: { replica: string; fate: string }[];
    };
    expect(new Set(outages.map(({ replica }) => replica)).size).toBe(2);
    expect(outages.map(({ fate }) => fate)).toContain('ended');
    await until(
      async () => (await fleet.exec('holdfast', 'status', '--json')).includes('"ok"'),
      'a replica is ready again',
    );
  });

  it('shows its state through docker compose exec', async () => {
    const status = JSON.parse(await fleet.exec('holdfast', 'status', '--json'));
    expect(status.services).toEqual([expect.objectContaining({ status: 'ok' })]);
  });
});

describe('four replicas with 10,000 jobs', () => {
  const JOBS = 10_000;
  const fleet = new Fleet('four');
  let done = 0;

  beforeAll(() => fleet.start(4));
  afterAll(() => fleet.down());

  it('does all of them once while the Redis container is stopped for 20 s and started', async () => {
    const ids = await fleet.enqueue(JOBS, 200);
    const traffic = new Traffic(await fleet.replicas(), 100);
    await until(async () => ((await fleet.counts())?.completed ?? 0) > 1000, 'work goes on');
    await fleet.stopRedis();
    await pause(OUTAGE_MS);
    await fleet.startRedis();
    await until(async () => (await fleet.counts()) !== null, 'Redis is back');
    await traffic.stop();
    ids.push(...traffic.accepted.map(({ id }) => id));
    await fleet.finished(ids.length);

    const runs = await fleet.runs();
    expect(perJob(runs)).toEqual({ jobs: ids.length, runTwice: [] });
    expect(runs.byReplica.size).toBe(4);
    expect(Math.min(...runs.byReplica.values())).toBeGreaterThan(JOBS / 20);
    expect(traffic.refused).toEqual([]);
    expect(traffic.slowestMs).toBeLessThan(ANSWER_MS_MAX);
    await fleet.logLines();
    done = ids.length;
  });

  it('loses nothing and runs nothing twice when three replicas are taken away in the middle', async () => {
    const ids = await fleet.enqueue(2000, 200);
    await until(async () => ((await fleet.counts())?.completed ?? 0) > done + 200, 'work goes on');
    const traffic = new Traffic(await fleet.replicas(), 100);
    await fleet.scaleWorkersOnly(1);
    expect(await fleet.replicas()).toHaveLength(1);
    await traffic.stop();
    expect(traffic.refused).toEqual([]);
    expect(traffic.accepted.length).toBeGreaterThan(10);
    ids.push(...traffic.accepted.map(({ id }) => id));
    done += ids.length;
    await fleet.finished(done);
    expect(perJob(await fleet.runs())).toEqual({ jobs: done, runTwice: [] });
  });

  it('nor when they are taken away while Redis is stopped: the last one adopts what they keep', async () => {
    await fleet.scale(4);
    const ids = await fleet.enqueue(2000, 300);
    await until(async () => ((await fleet.counts())?.completed ?? 0) > done + 100, 'work goes on');
    await fleet.stopRedis();
    for (const replica of await fleet.replicas())
      ids.push(...(await fleet.enqueue(50, 100, replica)));
    const traffic = new Traffic(await fleet.replicas(), 100);
    await fleet.scaleWorkersOnly(1);
    expect(await fleet.journals()).toHaveLength(4);
    await fleet.startRedis();
    await until(async () => (await fleet.counts()) !== null, 'Redis is back');
    await traffic.stop();
    expect(traffic.refused).toEqual([]);
    expect(traffic.accepted.length).toBeGreaterThan(10);
    ids.push(...traffic.accepted.map(({ id }) => id));
    done += ids.length;
    await fleet.finished(done);
    expect(perJob(await fleet.runs())).toEqual({ jobs: done, runTwice: [] });
    expect(await fleet.journals()).toHaveLength(1);
  });
});

async function readyStatus(url: string): Promise<unknown> {
  const response = await fetch(`${url}/readyz`);
  return ((await response.json()) as { status: unknown }).status;
}
