/** The service's HTTP side over a real Redis and plain BullMQ, in this process, on a free port. */
import { once } from 'node:events';
import { request } from 'node:http';
import { Redis } from 'ioredis';
import pino from 'pino';
import type { Config } from '../../src/config.ts';
import type { Consumption, Keeping } from '../../src/http/context.ts';
import type { EventsTiming } from '../../src/http/events.ts';
import {
  createHttpServer,
  type HttpServer,
  type HttpServerOptions,
} from '../../src/http/server.ts';
import type { TargetState } from '../../src/queue/target.ts';
import { testConfig } from './config.ts';
import { type PlainClient, plainClient } from './plain-client.ts';

export interface HttpService extends AsyncDisposable {
  url: string;
  client: PlainClient;
  server: HttpServer;
  /** What the service sees; tests change it to bring outages about. */
  seen: { state: TargetState; consumption: Consumption; keeping: Keeping };
  /** Lines of the service's log. */
  log: string[];
}

export interface HttpServiceOptions {
  queues?: readonly string[];
  config?: Partial<Config>;
  events?: EventsTiming;
  outages?: HttpServerOptions['outages'];
  fleetOutages?: HttpServerOptions['fleetOutages'];
}

export async function startHttpService(
  redisUrl: string,
  options: HttpServiceOptions = {},
): Promise<HttpService> {
  const client = plainClient(redisUrl);
  const redis = new Redis(redisUrl, { lazyConnect: true, maxRetriesPerRequest: 0 });
  redis.on('error', () => {});
  const log: string[] = [];
  const seen: HttpService['seen'] = {
    state: { breaker: 'closed', condition: undefined, outageId: undefined, since: Date.now() },
    consumption: {
      isStarted: true,
      isStopping: false,
      queues: (options.queues ?? ['faq', 'webhook']).map((queue) => ({
        queue,
        isConsuming: true,
      })),
    },
    keeping: { canKeep: false, reason: 'no journal' },
  };
  const server = createHttpServer({
    config: testConfig(options.config),
    client,
    target: {
      state: () => seen.state,
      isolate: () => Object.assign(seen.state, { breaker: 'isolated', condition: 'isolated' }),
      release: () => Object.assign(seen.state, { breaker: 'open' }),
    },
    redis: () => redis,
    consumption: () => seen.consumption,
    keeping: () => seen.keeping,
    log: pino({ level: 'debug' }, { write: (line: string) => void log.push(line) }),
    ...(options.events === undefined ? {} : { events: options.events }),
    ...(options.outages === undefined ? {} : { outages: options.outages }),
    ...(options.fleetOutages === undefined ? {} : { fleetOutages: options.fleetOutages }),
  });
  await server.start();
  return {
    url: server.address!,
    client,
    server,
    seen,
    log,
    async [Symbol.asyncDispose]() {
      await server.stop(performance.now() + 2000);
      await client.close();
      redis.disconnect();
    },
  };
}

/** A request whose path and headers go out as they are: fetch would tidy both. */
export async function rawRequest(
  url: string,
  path: string,
  options: { method?: string; headers?: Record<string, string | string[]>; body?: string } = {},
): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
  const { hostname, port } = new URL(url);
  const { method = 'GET', headers = {}, body } = options;
  const sent = request({ hostname, port, path, method, headers, agent: false });
  sent.end(body);
  const [response] = await once(sent, 'response');
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, body: text, headers: response.headers };
}
