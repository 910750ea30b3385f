/** The metrics of a service in this process, over a Redis that is really taken away. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createMetricsServer } from '../../src/http/metrics.ts';
import { metricsPage } from '../../src/metrics-page.ts';
import { conditions } from '../../src/redis/condition-catalogue.ts';
import { createService } from '../../src/service.ts';
import type { Service } from '../../src/service-contract.ts';
import { type MetricRow, metricTable } from '../../src/telemetry/metric-table.ts';
import { defineWorker } from '../../src/worker/definition.ts';
import { rawRequest } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { seriesIn, valueIn } from '../support/scrape.ts';

let redis: RedisServer;
let service: Service;
const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-metrics-'));

beforeAll(async () => {
  redis = await startRedis();
  service = createService({
    settings: { REDIS_URL: redis.url, DATA_DIR: dataDir, HTTP_PORT: '0', CONFIG_DIR: dataDir },
    log: pino({ level: 'silent' }),
    workers: [
      defineWorker({
        queue: 'sum',
        attempts: 2,
        handler: (job) => {
          if (job.data.fails === 'always' || job.attemptsMade < job.data.fails)
            throw new Error('no');
          return job.data.a;
        },
      }),
      defineWorker({ queue: 'idle', handler: () => undefined }),
    ],
  });
  await service.start();
  // What is added before goes to the journal, and is counted there.
  const readiness = async () => await (await fetch(`${service.address}/readyz`)).json();
  await vi.waitFor(async () => expect(await readiness()).toMatchObject({ breaker: 'closed' }), {
    timeout: 10_000,
  });
});
afterAll(() => service.stop());

const scrape = async (accept = 'text/plain') => {
  const response = await fetch(`${service.address}/metrics`, { headers: { accept } });
  return { type: response.headers.get('content-type'), text: await response.text() };
};
const metric = async (name: string, labels: Record<string, string> = {}) =>
  valueIn((await scrape()).text, name, labels);

describe('the metrics of a service', () => {
  it('are documented as they are', () => {
    expect(readFileSync('docs/metrics.md', 'utf8')).toBe(metricsPage());
  });

  it('count jobs by queue and outcome, with how long they ran and waited', async () => {
    for (const data of [{ a: 1 }, { a: 2, fails: 1 }, { fails: 'always' }]) {
      await service.client.enqueue('sum', 'x', data);
    }
    const outcome = (name: string) =>
      metric('holdfast_jobs_total', { queue: 'sum', outcome: name });
    await expect.poll(() => outcome('completed')).toBe(2);
    await expect.poll(() => outcome('failed')).toBe(1);
    expect(await outcome('retried')).toBe(2);
    expect(await metric('holdfast_job_duration_seconds_count', { queue: 'sum' })).toBe(5);
    expect(await metric('holdfast_job_wait_seconds_count', { queue: 'sum' })).toBe(3);
    expect(await metric('holdfast_enqueued_total', { stored: 'redis' })).toBe(3);
  });

  it('tell in calm weather that nothing is wrong, from the first scrape', async () => {
    const { text } = await scrape();
    expect(valueIn(text, 'holdfast_breaker_state', { state: 'closed' })).toBe(1);
    expect(valueIn(text, 'holdfast_breaker_state', { state: 'open' })).toBe(0);
    expect(valueIn(text, 'holdfast_outages_total', { condition: 'refused' })).toBe(0);
    expect(seriesIn(text, 'holdfast_condition')).toEqual([]);
    expect(seriesIn(text, 'holdfast_journal_oldest_entry_age_seconds')).toEqual([]);
    expect(valueIn(text, 'holdfast_queue_concurrency_allowed', { queue: 'idle' })).toBe(10);
    expect(valueIn(text, 'process_resident_memory_bytes')).toBeGreaterThan(1e7);
    expect(seriesIn(text, 'holdfast_build_info')[0]?.labels).toMatchObject({
      version: service.config.version,
    });
  });

  it('are the same in both formats, whichever is asked for first', async () => {
    const open = await scrape('application/openmetrics-text; version=1.0.0');
    const plain = await scrape();
    expect(open.type).toContain('application/openmetrics-text');
    expect(plain.type).toContain('text/plain');
    expect(open.text.endsWith('# EOF\n')).toBe(true);
    expect(open.text).toContain('# TYPE holdfast_jobs counter');
    expect(plain.text).toContain('# TYPE holdfast_jobs_total counter');
    const names = ({ text }: { text: string }) =>
      [...text.matchAll(/^(\w+)[ {]/gm)].map(([, name]) => name);
    expect(new Set(names(open))).toEqual(new Set(names(plain)));
  });

  it('have no label that a caller can choose', async () => {
    await service.client.enqueue('made-up-by-a-caller', 'x', {});
    expect((await scrape()).text).not.toContain('made-up-by-a-caller');
  });

  it('tell what waits in a queue, and since when the next job is due', async () => {
    const added = Date.now();
    service.quiet();
    await service.client.enqueue('sum', 'x', {});
    await service.client.enqueue('sum', 'x', {}, { priority: 3 });
    await service.client.enqueue('sum', 'x', {}, { delay: 60_000 });
    // Asked again only after a while, however often somebody looks; a request for work that was under
    // way at the quiet may still take a job and hand it back.
    const seen = async () => {
      const { text } = await scrape();
      return [
        valueIn(text, 'holdfast_queue_jobs', { queue: 'sum', state: 'delayed' }),
        valueIn(text, 'holdfast_queue_backlog_jobs', { queue: 'sum' }),
      ];
    };
    await expect.poll(seen, { timeout: 15_000 }).toEqual([1, 2]);
    const { text } = await scrape();
    const age = valueIn(text, 'holdfast_queue_oldest_job_age_seconds', { queue: 'sum' })!;
    expect(age).toBeGreaterThan(0);
    expect(age).toBeLessThanOrEqual((Date.now() - added) / 1000);
    expect(valueIn(text, 'holdfast_queue_oldest_job_age_seconds', { queue: 'idle' })).toBe(0);
    expect(valueIn(text, 'holdfast_queue_consuming', { queue: 'sum' })).toBe(0);
  });

  it('are told at once also by a Redis that is frozen and has not been missed yet', async () => {
    redis.freeze();
    const { text } = await scrape();
    expect(valueIn(text, 'holdfast_breaker_state', { state: 'closed' })).toBe(1);
    redis.thaw();
  });

  it('warn of an event loop that stood still', async () => {
    const until = Date.now() + 1600;
    while (Date.now() < until);
    const warning = () => metric('holdfast_warning', { condition: 'event-loop-blocked' });
    await expect.poll(warning).toBe(1);
    const { warnings } = (await (await fetch(`${service.address}/readyz`)).json()) as {
      warnings: object[];
    };
    expect(warnings).toMatchObject([
      {
        name: 'event-loop-blocked',
        evidence: expect.stringMatching(/stood still for \d{4} ms/),
        remedy: conditions['event-loop-blocked'].remedy,
      },
    ]);
  });

  it('go on being told in an outage, and tell it', async () => {
    await redis.kill();
    const isOpen = () => metric('holdfast_breaker_state', { state: 'closed' });
    await expect.poll(isOpen).toBe(0);
    // The end of a connection names no cause; the first probe does.
    await expect.poll(() => metric('holdfast_condition', { condition: 'refused' })).toBe(1);
    await service.client.enqueue('sum', 'x', {});
    const { text } = await scrape();
    expect(seriesIn(text, 'holdfast_condition')).toEqual([
      { labels: { condition: 'refused', cause: 'network' }, value: 1 },
    ]);
    expect(valueIn(text, 'holdfast_journal_entries', { kind: 'jobs' })).toBe(1);
    expect(valueIn(text, 'holdfast_journal_bytes')).toBeGreaterThan(0);
    expect(valueIn(text, 'holdfast_journal_commit_seconds_count')).toBe(1);
    expect(valueIn(text, 'holdfast_journal_jobs_accepted_total')).toBe(1);
    expect(valueIn(text, 'holdfast_enqueued_total', { stored: 'journal' })).toBe(1);
    expect(valueIn(text, 'holdfast_queue_concurrency_allowed', { queue: 'sum' })).toBe(0);
    const readiness = async () => {
      const response = await fetch(`${service.address}/readyz`);
      return (await response.json()) as { since: string };
    };
    const since = async () => (await readiness()).since;
    expect(await readiness()).toMatchObject({
      status: 'degraded',
      condition: 'refused',
      cause: 'network',
      remedy: conditions.refused.remedy,
      evidence: expect.stringContaining('ECONNREFUSED'),
    });
    const began = await since();
    await expect.poll(() => metric('holdfast_probes_total')).toBeGreaterThan(5);
    // Each probe is a moment half-open; the outage is one all the same.
    expect(await since()).toBe(began);
  });

  it('tell the end of an outage, and how long it was', async () => {
    await redis.start();
    await expect.poll(() => metric('holdfast_outage_duration_seconds_count')).toBe(1);
    await expect.poll(() => metric('holdfast_journal_jobs_replayed_total')).toBe(1);
    const { text } = await scrape();
    const told = seriesIn(text, 'holdfast_outages_total').filter(({ value }) => value > 0);
    expect(told).toEqual([{ labels: { condition: 'refused' }, value: 1 }]);
    expect(seriesIn(text, 'holdfast_condition')).toEqual([]);
    const away = ['open', 'half-open'].map(
      (state) => valueIn(text, 'holdfast_breaker_state_seconds_total', { state })!,
    );
    expect(away[0]! + away[1]!).toBeGreaterThan(0);
  });

  it('have a series each after that, but for what is well', async () => {
    const { text } = await scrape();
    const samples = ([name, { type }]: [string, MetricRow]) =>
      seriesIn(text, type === 'histogram' ? `${name}_count` : name);
    const silent = Object.entries(metricTable).filter((row) => samples(row).length === 0);
    const names = silent.map(([name]) => name);
    const well = [
      'holdfast_condition',
      'holdfast_warning',
      'holdfast_journal_oldest_entry_age_seconds',
    ];
    expect(names.filter((name) => !well.includes(name))).toEqual([]);
  });
});

it('warn of a Redis whose memory fills, and of nothing else', async () => {
  await using full = await startRedis();
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-metrics-'));
  // Room enough for the service itself within the last percents.
  await full.command('SETRANGE', 'ballast', 32 * 1024 ** 2, 'x');
  const [, used] = /used_memory:(\d+)/.exec(String(await full.command('INFO', 'memory')))!;
  await full.command('CONFIG', 'SET', 'maxmemory', Math.round(Number(used) / 0.93));
  const own = createService({
    settings: { REDIS_URL: full.url, DATA_DIR: dir, HTTP_PORT: '0', CONFIG_DIR: dir },
    log: pino({ level: 'silent' }),
    workers: [],
  });
  await own.start();
  const warnings = async () => {
    const response = await fetch(`${own.address}/metrics`);
    return seriesIn(await response.text(), 'holdfast_warning');
  };
  await expect
    .poll(warnings)
    .toEqual([{ labels: { condition: 'memory-filling', cause: 'resource' }, value: 1 }]);
  const page = await (await fetch(`${own.address}/v1/status`)).json();
  expect(page).toMatchObject({
    level: 'notice',
    headline: 'All is well, with a warning',
    warnings: [{ name: 'memory-filling', remedy: expect.stringContaining('Raise maxmemory') }],
  });
  await own.stop();
});

describe('the port of its own', () => {
  const expose = async (accept = '') => ({
    contentType: 'text/plain',
    body: `asked for ${accept}`,
  });

  it('serves the metrics to whoever reaches it, and nothing else to anybody', async () => {
    const log = pino({ level: 'silent' });
    const server = createMetricsServer({ host: '127.0.0.1', port: 0, expose, log });
    await server.start();
    const address = server.address!;
    const ask = (path: string, init?: RequestInit) => fetch(address + path, init);
    expect(await (await ask('/metrics', { headers: { accept: 'a/b' } })).text()).toBe(
      'asked for a/b',
    );
    expect((await ask('/readyz')).status).toBe(404);
    expect((await ask('/metrics', { method: 'POST' })).status).toBe(405);
    expect(
      (await rawRequest(address, '/metrics', { headers: { host: 'evil.example' } })).status,
    ).toBe(403);
    const port = Number(new URL(address).port);
    const second = createMetricsServer({ host: '127.0.0.1', port, expose, log });
    await expect(second.start()).rejects.toThrow(/METRICS_PORT/);
    await server.stop(0);
    await expect(ask('/metrics')).rejects.toThrow();
  });
});
