/**
 * `/metrics`: on the service's port behind its door, and, where METRICS_PORT is set, on a port of its
 * own that serves nothing else, for scrapers that have no token. Never waits for Redis.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Part } from '../part.ts';
import type { Exposition } from '../telemetry/metrics.ts';
import { type Access, accessRules } from './access.ts';
import type { HttpContext } from './context.ts';
import { listenError } from './listen-error.ts';

/** Scrapers at a time; a handful is usual. */
const CONNECTIONS_MAX = 50;
/** A scrape is one short request, ms. */
const REQUEST_MS_MAX = 5000;

export function registerMetrics(app: FastifyInstance, { metrics }: HttpContext): void {
  app.get('/metrics', async (request, reply) => {
    const { contentType, body } = await metrics(request.headers.accept);
    return reply.type(contentType).send(body);
  });
}

export interface MetricsServerOptions {
  host: string;
  /** 0: any free one. */
  port: number;
  expose: (accept: string | undefined) => Promise<Exposition>;
  log: Logger;
}

export interface MetricsServer extends Part {
  /** Where it listens, `http://host:port`; undefined before `start` and after `stop`. */
  readonly address: string | undefined;
}

export function createMetricsServer(options: MetricsServerOptions): MetricsServer {
  const { host, port, expose, log } = options;
  const access = accessRules({ host });
  const server = createServer((request, response) => {
    answer(request, response, access, expose).catch((error: unknown) => {
      log.error(
        { event: 'http.failed', method: 'GET', path: '/metrics', err: error },
        'HTTP failed',
      );
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.requestTimeout = REQUEST_MS_MAX;
  let address: string | undefined;
  let isStopped = false;

  return {
    name: 'metrics server',
    get address() {
      return address;
    },
    async start() {
      if (isStopped) return;
      const listening = once(server, 'listening');
      server.listen(port, host);
      try {
        await listening;
      } catch (error) {
        const settings = { host: 'METRICS_HOST', port: 'METRICS_PORT', open: '' };
        throw listenError(host, port, settings, error);
      }
      const bound = server.address() as AddressInfo;
      const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
      address = `http://${name}:${bound.port}`;
      log.debug({ event: 'http.listening', address }, `metrics on ${address}/metrics`);
    },
    async stop() {
      isStopped = true;
      address = undefined;
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      // An answer takes a moment at most; nobody is waited for.
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  { method = '', url = '', headers }: IncomingMessage,
  response: ServerResponse,
  access: Access,
  expose: MetricsServerOptions['expose'],
): Promise<void> {
  const end = (status: number, text: string): void => {
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' });
    response.end(`${text}\n`);
  };
  try {
    access.check({ method, headers }, 'open');
  } catch (error) {
    return end(403, (error as Error).message);
  }
  if (url.split('?', 1)[0] !== '/metrics') return end(404, 'Here is only /metrics.');
  if (method !== 'GET' && method !== 'HEAD') return end(405, 'Only GET is answered.');
  const { contentType, body } = await expose(headers.accept);
  response.writeHead(200, {
    'content-type': contentType,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(method === 'HEAD' ? undefined : body);
}
