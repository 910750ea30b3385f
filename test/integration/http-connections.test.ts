/** Connections that are silent, or whose request does not come to its end: nothing waits for them. */
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { Connections, INCOMPLETE_MS } from '../../src/http/connections.ts';
import { type HttpService, startHttpService } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

/** A deadline that no test reaches, ms. */
const FAR_MS = 60_000;
const BODY = '{"data":1}';
const HEAD = `POST /v1/queues/faq/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n`;

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
});

interface Caller {
  socket: Socket;
  /** What was answered until the connection ended. */
  answer: Promise<string>;
}

/** Resolves when `text` was written. */
async function call(port: number, text: string): Promise<Caller> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let said = '';
  socket.on('data', (chunk) => {
    said += chunk;
  });
  socket.on('error', () => {});
  const answer = new Promise<string>((resolve) => {
    socket.once('close', () => resolve(said));
  });
  await once(socket, 'connect');
  if (text !== '') await new Promise((resolve) => socket.write(text, resolve));
  return { socket, answer };
}

const portOf = (service: HttpService) => Number(new URL(service.url).port);

describe('a stop', () => {
  it('waits for the rest of neither a head nor a body', async () => {
    const service = await startHttpService(redis.url);
    const port = portOf(service);
    const half = [HEAD.slice(0, 60), `${HEAD}Expect: 100-continue\r\n\r\n${BODY.slice(0, 5)}`];
    const [head, body] = (await Promise.all(half.map((text) => call(port, text)))) as [
      Caller,
      Caller,
    ];
    // The server has begun to read it.
    await once(body.socket, 'data');
    const began = performance.now();
    await service.server.stop(began + FAR_MS);
    expect(performance.now() - began).toBeLessThan(INCOMPLETE_MS + 3000);
    expect(await head.answer).toBe('');
    await body.answer;
    await service[Symbol.asyncDispose]();
  });

  it('gives a request that comes to its end meanwhile its answer, and keeps no connection for another', async () => {
    const service = await startHttpService(redis.url);
    const port = portOf(service);
    const { socket, answer } = await call(port, `${HEAD}Expect: 100-continue\r\n\r\n`);
    await once(socket, 'data');
    const began = performance.now();
    const stopped = service.server.stop(began + FAR_MS);
    socket.write(BODY);
    expect(await answer).toMatch(/HTTP\/1.1 202 [\s\S]*\r\nconnection: close\r\n/i);
    await stopped;
    expect(performance.now() - began).toBeLessThan(INCOMPLETE_MS);
    await service[Symbol.asyncDispose]();
  });

  it('waits for the answer to a request that was received whole', async () => {
    const service = await startHttpService(redis.url);
    const port = portOf(service);
    const { enqueue } = service.client;
    const asked = Promise.withResolvers<void>();
    const incompleteCut = Promise.withResolvers<void>();
    service.client.enqueue = async (...job: unknown[]) => {
      asked.resolve();
      await incompleteCut.promise;
      return (enqueue as (...job: unknown[]) => ReturnType<typeof enqueue>)(...job);
    };
    const whole = await call(port, `${HEAD}\r\n${BODY}`);
    await asked.promise;
    const half = await call(port, `${HEAD}Expect: 100-continue\r\n\r\n`);
    await once(half.socket, 'data');
    const stopped = service.server.stop(performance.now() + FAR_MS);
    await half.answer;
    incompleteCut.resolve();
    expect(await whole.answer).toMatch(/HTTP\/1.1 202 [\s\S]*\r\nconnection: close\r\n/i);
    await stopped;
    await service[Symbol.asyncDispose]();
  });
});

describe('the connections of a server', () => {
  const MAX = 3;

  async function serve(answer: RequestListener) {
    const server = createServer(answer);
    const connections = new Connections(server, MAX);
    server.listen(0, '127.0.0.1');
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    await once(server, 'listening');
    return { server, connections, port: (server.address() as AddressInfo).port };
  }
  const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
  const answered = async ({ socket }: Caller) => void (await once(socket, 'data'));

  it('that are silent make room when all are taken, those that never asked first', async () => {
    const { port } = await serve((_request, response) => response.end('here'));
    const kept = await call(port, GET);
    await answered(kept);
    const silent = await call(port, '');
    const alsoSilent = await call(port, 'GET / HT');
    const next = await call(port, GET);
    await answered(next);
    expect(await silent.answer).toBe('');
    const third = await call(port, GET);
    await answered(third);
    expect(await alsoSilent.answer).toBe('');
    const fourth = await call(port, GET);
    await answered(fourth);
    expect(await kept.answer).toMatch(/here/);
    expect(next.socket.closed).toBe(false);
  });

  it('that wait for an answer are never cut for others', async () => {
    const waiting: (() => void)[] = [];
    const { server, port } = await serve((_request, response) => {
      waiting.push(() => response.end('late'));
    });
    const callers: Caller[] = [];
    for (let i = 0; i < MAX; i += 1) {
      const asked = once(server, 'request');
      callers.push(await call(port, GET));
      await asked;
    }
    const tooMany = await call(port, GET);
    expect(await tooMany.answer).toBe('');
    for (const answer of waiting) answer();
    await Promise.all(callers.map(answered));
  });

  it('are closed after the answer that was under way when the server was told to stop', async () => {
    let end = () => {};
    const { server, connections, port } = await serve((_request, response) => {
      response.write('begun');
      end = () => void response.end('ended');
    });
    const caller = await call(port, GET);
    await answered(caller);
    const closed = once(server, 'close');
    server.close();
    const done = connections.drain(performance.now() + FAR_MS);
    end();
    expect(await caller.answer).toMatch(/begun[\s\S]*ended/);
    await closed;
    done();
  });
});
