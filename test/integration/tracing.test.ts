/** Traces from the service to a collector on loopback, and what they cost when there is none. */
import { execFile } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { context, propagation, trace } from '@opentelemetry/api';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createService } from '../../src/service.ts';
import type { Service } from '../../src/service-contract.ts';
import { TraceContextPropagator } from '../../src/telemetry/otel-context.ts';
import { defineWorker } from '../../src/worker/definition.ts';
import { startCollector } from '../support/collector.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

type Line = Record<string, unknown>;

async function startService(endpoint: string): Promise<{ service: Service; lines: Line[] }> {
  const lines: Line[] = [];
  const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-traces-'));
  const service = createService({
    settings: {
      REDIS_URL: redis.url,
      DATA_DIR: dataDir,
      CONFIG_DIR: dataDir,
      HTTP_PORT: '0',
      REPLICA: 'traced-1',
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
    },
    log: pino({ level: 'info' }, { write: (line) => void lines.push(JSON.parse(line)) }),
    workers: [
      defineWorker({
        queue: 'first',
        async handler(_job, ctx) {
          ctx.log.info('a line of the handler');
          await ctx.enqueue('second', 'child', {});
        },
      }),
      defineWorker({ queue: 'second', handler: () => 'done' }),
    ],
  });
  await service.start();
  return { service, lines };
}

describe('traces', () => {
  it('follow a job from its add through its run to the job that its handler adds', async () => {
    await using collector = await startCollector();
    const { service, lines } = await startService(collector.url);
    await service.client.enqueue('first', 'parent', {});
    await expect.poll(() => lines.filter(({ event }) => event === 'job.completed')).toHaveLength(2);
    // What has not been sent yet is sent by the stop.
    await service.stop();
    const named = (name: string) => collector.spans.find((span) => span.name === name)!;
    const names = ['add first.parent', 'process first', 'add second.child', 'process second'];
    const path = names.map(named);
    expect(collector.spans.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
    expect(new Set(path.map(({ traceId }) => traceId)).size).toBe(1);
    const parents = path.map(({ parentSpanId }) => parentSpanId ?? '');
    expect(parents).toEqual(['', ...path.slice(0, 3).map(({ spanId }) => spanId)]);
    expect(path[0]!.resource).toMatchObject({
      'service.name': 'holdfast',
      'service.instance.id': 'traced-1',
    });
    const told = lines.filter(
      ({ event, msg }) => event === 'job.completed' || /handler/.test(`${msg}`),
    );
    expect(told.map(({ traceId }) => traceId)).toEqual(Array(3).fill(path[0]!.traceId));
  });

  it('go on from the trace of who adds a job over HTTP', async () => {
    await using collector = await startCollector();
    const { service, lines } = await startService(collector.url);
    const [traceId, spanId] = ['c'.repeat(32), 'd'.repeat(16)];
    const response = await fetch(`${service.address}/v1/queues/second/jobs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${spanId}-01` },
      body: '{"name":"http","data":{}}',
    });
    expect(response.status).toBe(202);
    await expect.poll(() => lines.some(({ event }) => event === 'job.completed')).toBe(true);
    await service.stop();
    expect(collector.spans.find(({ name }) => name === 'add second.http')).toMatchObject({
      traceId,
      parentSpanId: spanId,
    });
  });

  it('leave out what an idle worker does for itself', async () => {
    await using collector = await startCollector();
    const { service, lines } = await startService(collector.url);
    await service.client.enqueue('second', 'x', {});
    await expect.poll(() => lines.some(({ event }) => event === 'job.completed')).toBe(true);
    await service.stop();
    const { traceId } = collector.spans.find(({ name }) => name === 'process second')!;
    expect(collector.spans.filter((span) => span.traceId !== traceId)).toEqual([]);
  });

  it('are those of a job that was kept in the journal, when it is run after the outage', async () => {
    await using collector = await startCollector();
    const { service, lines } = await startService(collector.url);
    await service.client.enqueue('second', 'x', {});
    await redis.kill();
    const kept = service.client.enqueue('second', 'kept', {});
    expect((await kept).stored).toBe('journal');
    await redis.start();
    await expect.poll(() => lines.filter(({ jobName }) => jobName === 'kept')).toHaveLength(1);
    await service.stop();
    const { traceId } = lines.find(({ jobName }) => jobName === 'kept')!;
    const own = collector.spans.filter((span) => span.traceId === traceId).map(({ name }) => name);
    expect(own).toEqual(expect.arrayContaining(['add second.kept', 'process second']));
  });

  it('cost no job anything when the collector is not there, and a stop no more than its second', async () => {
    const { service, lines } = await startService('http://127.0.0.1:9');
    await service.client.enqueue('second', 'x', {});
    await expect.poll(() => lines.some(({ event }) => event === 'job.completed')).toBe(true);
    await service.stop();
    expect(lines.some(({ event }) => event === 'part.overdue')).toBe(false);
    expect(lines.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  it('leave nothing registered behind', () => {
    expect(propagation.fields()).toEqual([]);
    expect(trace.getTracer('x').startSpan('y').isRecording()).toBe(false);
  });

  it('load no SDK and no exporter where nobody asks for them', async () => {
    const script = `
      import { registerHooks } from 'node:module';
      const loaded = [];
      registerHooks({ load(url, context, next) { if (/opentelemetry.(sdk|exporter)|bullmq-otel/.test(url)) loaded.push(url); return next(url, context); } });
      await import('./src/service.ts');
      const before = loaded.length;
      await import('./src/telemetry/otel.ts');
      console.log(JSON.stringify({ before, after: loaded.length > 0 }));`;
    const run = promisify(execFile);
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script]);
    expect(JSON.parse(stdout)).toEqual({ before: 0, after: true });
  });
});

describe('the W3C trace context', () => {
  const propagator = new TraceContextPropagator();
  const read = (carrier: Record<string, string>) =>
    trace.getSpanContext(
      propagator.extract(context.active(), carrier, {
        keys: Object.keys,
        get: (from: Record<string, string>, key) => from[key],
      }),
    );
  const parent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;

  it('is written as it was read', () => {
    const span = read({ traceparent: parent, tracestate: 'vendor=1' })!;
    expect(span).toMatchObject({ traceId: 'a'.repeat(32), traceFlags: 1, isRemote: true });
    const carrier: Record<string, string> = {};
    propagator.inject(trace.setSpanContext(context.active(), span), carrier, {
      set: (to, key, value) => Object.assign(to as object, { [key]: value }),
    });
    expect(carrier).toEqual({ traceparent: parent, tracestate: 'vendor=1' });
  });

  it.each([
    'nonsense',
    `ff-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`,
    `00-${'A'.repeat(32)}-${'b'.repeat(16)}-01`,
  ])('is none when it is %s', (traceparent) => {
    expect(read({ traceparent })).toBeUndefined();
  });
});
