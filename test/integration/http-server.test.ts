import { once } from 'node:events';
import { connect } from 'node:net';
import { Worker } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RedisUnavailableError } from '../../src/errors.ts';
import type { EventsTiming } from '../../src/http/events.ts';
import { createHttpServer } from '../../src/http/server.ts';
import { conditions } from '../../src/redis/condition-catalogue.ts';
import { testConfig } from '../support/config.ts';
import { type HttpService, rawRequest, startHttpService } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const FAST: EventsTiming = { pollIntervalMs: 20, heartbeatMs: 60, streamsMax: 2 };
const TOKEN = 'a-token-of-the-tests';

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
});

const httpConfig = (http: Partial<ReturnType<typeof testConfig>['http']>) => ({
  config: { http: { ...testConfig().http, ...http } },
});

describe('the probes', () => {
  let service: HttpService;
  beforeAll(async () => {
    service = await startHttpService(redis.url);
  });
  afterAll(() => service[Symbol.asyncDispose]());

  const probe = async (path: string) => {
    const response = await fetch(service.url + path);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  it('are green in calm weather and say who answers', async () => {
    expect(await probe('/livez')).toMatchObject({
      status: 200,
      body: { service: 'holdfast', status: 'ok', pid: process.pid },
    });
    expect(await probe('/readyz')).toMatchObject({
      status: 200,
      body: { status: 'ok', breaker: 'closed' },
    });
    expect((await probe('/startupz')).status).toBe(200);
  });

  it('in an outage stay live, and ready only while jobs can be kept', async () => {
    service.seen.state = {
      breaker: 'open',
      condition: 'frozen',
      evidence: 'no answer to a pulse for 2100 ms',
      outageId: 'o-9',
      since: Date.now(),
    };
    expect((await probe('/livez')).status).toBe(200);
    expect(await probe('/readyz')).toMatchObject({
      status: 503,
      body: {
        status: 'unavailable',
        condition: 'frozen',
        outageId: 'o-9',
        reason: expect.stringMatching(/no journal/),
        cause: 'server',
        meaning: conditions.frozen.meaning,
        remedy: conditions.frozen.remedy,
        docs: 'docs/conditions.md#frozen',
        evidence: 'no answer to a pulse for 2100 ms',
      },
    });
    service.seen.keeping = { canKeep: true };
    expect(await probe('/readyz')).toMatchObject({
      status: 200,
      body: {
        status: 'degraded',
        breaker: 'open',
        condition: 'frozen',
        remedy: conditions.frozen.remedy,
      },
    });
  });

  it('tell for each queue whether jobs are taken, and why not', async () => {
    const before = service.seen.consumption;
    expect(await probe('/readyz/consume')).toMatchObject({ status: 200, body: { status: 'ok' } });
    service.seen.consumption = {
      ...before,
      queues: [
        { queue: 'faq', isConsuming: true },
        { queue: 'webhook', isConsuming: false, reason: 'not in QUEUES' },
      ],
    };
    expect((await probe('/readyz/consume')).status).toBe(200);
    expect((await probe('/readyz/consume/faq')).status).toBe(200);
    expect(await probe('/readyz/consume/webhook')).toMatchObject({
      status: 503,
      body: { queues: [{ queue: 'webhook', isConsuming: false, reason: 'not in QUEUES' }] },
    });
    expect((await probe('/readyz/consume/none')).status).toBe(503);
    service.seen.consumption = {
      ...before,
      queues: [{ queue: 'faq', isConsuming: false, reason: 'quiet' }],
    };
    expect(await probe('/readyz/consume')).toMatchObject({
      status: 503,
      body: { status: 'unavailable', queues: [{ queue: 'faq', reason: 'quiet' }] },
    });
    service.seen.consumption = before;
  });

  it('want a new process only when rebuilding a worker did not help', async () => {
    const before = service.seen.consumption;
    service.seen.consumption = {
      ...before,
      queues: [{ queue: 'faq', isConsuming: true, isStuck: true }],
    };
    expect(await probe('/livez')).toMatchObject({
      status: 503,
      body: { status: 'wedged', reason: expect.stringContaining('faq') },
    });
    service.seen.consumption = before;
  });

  it('say so while the service starts and stops', async () => {
    service.seen.consumption = { ...service.seen.consumption, isStarted: false };
    expect(await probe('/startupz')).toMatchObject({ status: 503, body: { status: 'starting' } });
    expect((await probe('/readyz')).body.status).toBe('starting');
    service.seen.consumption = {
      ...service.seen.consumption,
      isStarted: true,
      isStopping: true,
    };
    expect(await probe('/readyz')).toMatchObject({ status: 503, body: { status: 'stopping' } });
    expect((await probe('/livez')).status).toBe(200);
  });
});

describe('who may ask', () => {
  it('on loopback: no web page, under whatever name it reaches us', async () => {
    await using service = await startHttpService(redis.url);
    const attempt = (headers: Record<string, string>) =>
      rawRequest(service.url, '/v1/queues/faq/jobs', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: '{"data":1}',
      });
    expect((await attempt({ host: 'rebound.example:8080' })).status).toBe(403);
    expect((await attempt({ origin: 'https://evil.example' })).status).toBe(403);
    expect((await attempt({ 'sec-fetch-site': 'cross-site' })).status).toBe(403);
    expect((await attempt({})).status).toBe(202);
    const rebound = await rawRequest(service.url, '/readyz', { headers: { host: 'evil.example' } });
    expect(rebound.status).toBe(403);
    expect(rebound.body).not.toContain('breaker');
  });

  it('elsewhere: only who has the token, but a prober gets a status', async () => {
    await using service = await startHttpService(
      redis.url,
      httpConfig({ host: '0.0.0.0', token: TOKEN }),
    );
    const headers = { authorization: `Bearer ${TOKEN}` };
    const refused = await rawRequest(service.url, '/v1/queues');
    expect(refused.status).toBe(401);
    expect(refused.headers['www-authenticate']).toMatch(/^Bearer/);
    expect((await rawRequest(service.url, '/v1/queues', { headers })).status).toBe(200);
    const bare = await rawRequest(service.url, '/readyz');
    expect(JSON.parse(bare.body)).toEqual({ service: 'holdfast', status: 'ok' });
    const known = await rawRequest(service.url, '/readyz', { headers });
    expect(JSON.parse(known.body).breaker).toBe('closed');
  });

  it('is decided before start: beyond loopback without a token it does not start', () => {
    const config = testConfig(httpConfig({ host: '0.0.0.0' }).config);
    const create = () =>
      createHttpServer({ ...({} as Parameters<typeof createHttpServer>[0]), config });
    expect(create).toThrow(/HTTP_TOKEN/);
  });

  it('is told to no browser: answers forbid framing, sniffing and scripts', async () => {
    await using service = await startHttpService(redis.url);
    for (const path of ['/livez', '/v1/queues', '/none']) {
      const { headers } = await rawRequest(service.url, path);
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'content-security-policy': expect.stringMatching(/default-src 'none'/),
        'cache-control': 'no-store',
      });
    }
  });
});

describe('listening', () => {
  it('on a busy port fails with the port and how to choose another', async () => {
    await using first = await startHttpService(redis.url);
    const port = Number(new URL(first.url).port);
    await expect(startHttpService(redis.url, httpConfig({ port }))).rejects.toMatchObject({
      code: 'HOLDFAST_HTTP_LISTEN',
      message: expect.stringMatching(new RegExp(`${port}.*HTTP_PORT=`)),
    });
  });

  it('on an address of another machine fails with what to set', async () => {
    await expect(
      startHttpService(redis.url, httpConfig({ host: '192.0.2.1', token: TOKEN })),
    ).rejects.toMatchObject({ message: expect.stringMatching(/HTTP_HOST/) });
  });

  it('is ended before it began, twice, without harm', async () => {
    const service = await startHttpService(redis.url);
    const { server } = service;
    await server.stop(performance.now() + 500);
    await server.stop(performance.now() + 500);
    expect(server.address).toBeUndefined();
    await service[Symbol.asyncDispose]();
  });
});

/** Reads a stream of events until it ends. */
async function* eventsOf(response: Response) {
  let text = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      const event = /^event: (.*)$/m.exec(block)?.[1] ?? 'comment';
      const data = /^data: (.*)$/m.exec(block)?.[1];
      yield { event, data: data === undefined ? undefined : JSON.parse(data) };
    }
  }
}

describe('the event stream of a job', () => {
  it('tells progress, an outage and its end, heartbeats in between, and the result', async () => {
    await using service = await startHttpService(redis.url, { events: FAST });
    const { id } = await service.client.enqueue('webhook', 'x', {});
    const response = await fetch(`${service.url}/v1/queues/webhook/jobs/${id}/events`);
    expect(response.headers.get('content-type')).toMatch(/text\/event-stream/);
    const events = eventsOf(response);
    const next = async (wanted: string) => {
      for (;;) {
        const { value, done } = await events.next();
        if (done) throw new Error(`the stream ended before "${wanted}"`);
        if (value.event === wanted) return value.data;
      }
    };
    expect(await next('progress')).toMatchObject({ id, state: 'waiting' });
    await next('comment');
    service.client.failure = new RedisUnavailableError('reading', 'refused', 'o-1');
    await next('unavailable');
    service.client.failure = undefined;
    expect(await next('progress')).toMatchObject({ state: 'waiting' });
    // The job is held until the watcher has seen its progress: a poll might miss it otherwise.
    const seen = Promise.withResolvers<void>();
    const worker = new Worker(
      'webhook',
      async (job) => {
        await job.updateProgress(50);
        await seen.promise;
        return { answer: 42 };
      },
      { connection: { url: redis.url } },
    );
    while ((await next('progress')).progress !== 50);
    seen.resolve();
    expect(await next('completed')).toMatchObject({ result: { answer: 42 }, progress: 50 });
    expect((await events.next()).done).toBe(true);
    await worker.close();
  });

  it('is an ordinary 404 for a job that is not there, and 400 for a bad time', async () => {
    await using service = await startHttpService(redis.url, { events: FAST });
    const url = `${service.url}/v1/queues/faq/jobs/none/events`;
    expect((await fetch(url)).status).toBe(404);
    for (const timeout of ['0', '-1', 'x', '1e3', '99999']) {
      expect((await fetch(`${url}?timeout=${timeout}`)).status).toBe(400);
    }
  });

  it('ends at its time, and is given to no more watchers than the limit', async () => {
    await using service = await startHttpService(redis.url, { events: FAST });
    const { id } = await service.client.enqueue('waits', 'x', {});
    const url = `${service.url}/v1/queues/waits/jobs/${id}/events?timeout=1`;
    const open = await Promise.all([fetch(url), fetch(url)]);
    const third = await fetch(url);
    expect(third.status).toBe(503);
    expect(third.headers.get('retry-after')).not.toBeNull();
    for (const response of open) {
      const seen: string[] = [];
      for await (const { event } of eventsOf(response)) seen.push(event);
      expect(seen.at(-1)).toBe('timeout');
    }
    const later = await fetch(url);
    expect(later.status).toBe(200);
    await later.body?.cancel();
  });
});

describe('stopping', () => {
  it('ends streams and idle connections at once', async () => {
    const service = await startHttpService(redis.url, { events: FAST });
    const { id } = await service.client.enqueue('waits', 'x', {});
    const idle = connect(Number(new URL(service.url).port), '127.0.0.1');
    await once(idle, 'connect');
    const response = await fetch(`${service.url}/v1/queues/waits/jobs/${id}/events`);
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { event } of eventsOf(response)) seen.push(event);
    })();
    const closed = once(idle, 'close');
    idle.resume();
    const far = 60_000;
    await service.server.stop(performance.now() + far);
    await Promise.all([reading, closed]);
    expect(seen.at(-1)).toBe('stopping');
    await service[Symbol.asyncDispose]();
  });

  it('cuts what is still open at its deadline', async () => {
    const service = await startHttpService(redis.url);
    const slow = connect(Number(new URL(service.url).port), '127.0.0.1');
    await once(slow, 'connect');
    // A request whose body never ends; the server has begun to read it when it answers 100.
    slow.write(
      'POST /v1/queues/faq/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n{',
    );
    await once(slow, 'data');
    slow.on('error', () => {});
    const closed = once(slow, 'close');
    slow.resume();
    await service.server.stop(performance.now() + 300);
    await closed;
    await service[Symbol.asyncDispose]();
  });
});
