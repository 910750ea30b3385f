/** Streams of events whose readers leave before anything was sent: none may keep its place. */
import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { openStream, readerOf } from '../../src/http/sse.ts';
import { startHttpService } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
});

/** Asks at `url` and leaves as soon as `begun`; resolves when the server has seen that. */
async function leaveEarly(url: string, begun: Promise<unknown>): Promise<void> {
  const { hostname, port, pathname } = new URL(url);
  const seen = Promise.withResolvers<ServerResponse>();
  const onRequest = (message: unknown) => {
    const { request, response } = message as { request: { url: string }; response: ServerResponse };
    if (request.url === pathname) seen.resolve(response);
  };
  channel('http.server.request.start').subscribe(onRequest);
  onTestFinished(() => void channel('http.server.request.start').unsubscribe(onRequest));
  const socket = connect(Number(port), hostname);
  socket.write(`GET ${pathname} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const left = seen.promise.then((response) => once(response, 'close'));
  await begun;
  socket.destroy();
  await left;
}

describe('a stream of events', () => {
  it('whose reader leaves while the job is looked for gives its place back', async () => {
    const events = { pollIntervalMs: 20, heartbeatMs: 60, streamsMax: 1 };
    await using service = await startHttpService(redis.url, { events });
    const { id } = await service.client.enqueue('waits', 'x', {});
    const { job } = service.client;
    const asked = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    service.client.job = async (queue, jobId) => {
      asked.resolve();
      await left.promise;
      return job(queue, jobId);
    };
    const url = `${service.url}/v1/queues/waits/jobs/${id}/events`;
    await leaveEarly(url, asked.promise);
    left.resolve();
    const statusOfNext = async () => {
      const response = await fetch(`${url}?timeout=1`);
      await response.body?.cancel();
      return response.status;
    };
    await expect.poll(statusOfNext, { timeout: 2000 }).toBe(200);
    expect(service.log.filter((line) => line.includes('http.failed'))).toEqual([]);
  });

  it('is not begun for a reader who has left, and waits for none', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const [, response] = (await once(server, 'request')) as [unknown, ServerResponse];
    socket.destroy();
    await once(response, 'close');
    const signal = readerOf(response, new AbortController().signal);
    expect(signal.aborted).toBe(true);
    await expect(openStream(response, signal).say('status', {})).rejects.toThrow(/abort/i);
  });
});
