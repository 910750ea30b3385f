/**
 * The service's HTTP server: probes, jobs API, documents and event streams, behind one door that
 * checks who asks. It never waits for Redis to start, and its stop is bounded: streams end, what is
 * under way is answered, and what is still open at the deadline is cut.
 */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import { AccessDeniedError, ServiceBusyError, UnknownEndpointError } from '../errors.ts';
import type { Part } from '../part.ts';
import type { Client } from '../queue/client.ts';
import { accessRules, isTls } from './access.ts';
import { BOARD_PATH, registerBoard } from './board.ts';
import { Connections } from './connections.ts';
import type { Consumption, HttpContext, Keeping } from './context.ts';
import { registerDocument } from './document.ts';
import { type EventsTiming, registerEvents } from './events.ts';
import { registerHeaders } from './headers.ts';
import { registerHealth } from './health.ts';
import { registerIsolation } from './isolation.ts';
import { registerJobs } from './jobs.ts';
import { registerJsonBody } from './json-body.ts';
import { type Limits, registerLimits } from './limits.ts';
import { listenError } from './listen-error.ts';
import { registerLogin, sendToForm, wantsForm } from './login.ts';
import { registerMetrics } from './metrics.ts';
import { registerOutages } from './outages.ts';
import { registerPages } from './pages.ts';
import { type BodySize, PROBLEM_TYPE, toProblem } from './problem.ts';
import { assertProtected } from './protection.ts';
import { endpoints, type Need, needOf } from './routes.ts';
import type { Tokens } from './session.ts';
import { registerStatus } from './status.ts';
import { swallow } from './swallow.ts';

/** A slow sender may not hold a connection open for longer, headers and body together. */
const REQUEST_MS_MAX = 30_000;
/** Silence on a connection; above the streams' heartbeat and the keep-alive. */
const CONNECTION_IDLE_MS = 90_000;
/** Idle between requests; above what load balancers in front usually keep, so that they close first. */
const KEEP_ALIVE_MS = 65_000;
/** From routing to answer; enqueues and reads have shorter deadlines of their own. */
const HANDLER_MS_MAX = 20_000;
/** Sockets at a time; beyond it a new one takes the place of one that is silent. */
const CONNECTIONS_MAX = 1000;
/** A batch of small jobs, where MAX_JOB_BYTES alone would be too tight. */
const BODY_BYTES_MIN = 8 * 1024 * 1024;
/** What surrounds a job's data in a body: name, options, brackets; escapes can double its size. */
const BODY_PER_JOB_BYTES = 2;
/** Queue names and job ids in a path, percent-encoded; the rooms check the real limits. */
const PARAM_CHARS_MAX = 2048;
const ADDRESS = { host: 'HTTP_HOST', port: 'HTTP_PORT', open: ' with HTTP_TOKEN' };

export interface HttpServerOptions {
  config: Config;
  client: Client;
  target: HttpContext['target'];
  consumption: () => Consumption;
  /** The connection; default: there is none. */
  redis?: HttpContext['redis'];
  /** Looks at the queues, for `consumption`; default: does nothing. */
  look?: HttpContext['look'];
  /** Whether jobs can be kept without Redis; default: they cannot. */
  keeping?: () => Keeping;
  /** The replicas of the fleet; default: none is known. */
  replicas?: HttpContext['replicas'];
  /** Records of outages, newest first; default: none. */
  outages?: HttpContext['outages'];
  /** Records of a fleet's outage, in Redis; default: none. */
  fleetOutages?: HttpContext['fleetOutages'];
  /** What may become an outage; default: nothing. */
  warnings?: HttpContext['warnings'];
  /** What waits in the journal; default: there is none. */
  journal?: HttpContext['journal'];
  log: Logger;
  /** Goes on in a caller's trace; default: no traces are made. */
  traced?: HttpContext['traced'];
  /** The text of `/metrics`; default: none. */
  metrics?: HttpContext['metrics'];
  /** Other paces for the event streams, for tests. */
  events?: EventsTiming;
}

export interface HttpServer extends Part {
  /** Where it listens, `http://host:port`; undefined before `start` and after `stop`. */
  readonly address: string | undefined;
  /** Takes the tokens of a new configuration. @throws ConfigError when it must not be open so */
  renewTokens(config: Config): void;
  /** Every route that it has, as method and path. */
  readonly routes: readonly { method: string; path: string }[];
}

/**
 * @throws ConfigError when it would listen beyond loopback without a token that nobody guesses
 */
export function createHttpServer(options: HttpServerOptions): HttpServer {
  const { config, log } = options;
  const { host, port, publicUrl, allowedHosts } = config.http;
  if (config.http.enabled) assertProtected(config.http);
  const stopping = new AbortController();
  const context: HttpContext = {
    ...options,
    redis: options.redis ?? (() => undefined),
    look: options.look ?? (async () => {}),
    keeping: options.keeping ?? (() => ({ canKeep: false, reason: 'no journal' })),
    journal: options.journal,
    replicas: options.replicas ?? (async () => ({ replicas: [], isComplete: false })),
    traced: options.traced,
    metrics: options.metrics ?? (async () => ({ contentType: 'text/plain', body: '' })),
    access: accessRules({
      host,
      allowedHosts,
      tokens: tokensOf(config),
      publicOrigin: publicUrl,
    }),
    outages: options.outages ?? (async () => []),
    fleetOutages: options.fleetOutages ?? (async () => ({ outages: [] })),
    warnings: options.warnings ?? (() => []),
    stopping: stopping.signal,
  };
  const routes: { method: string; path: string }[] = [];
  const app = build(context, options.events, routes);
  const connections = new Connections(app.server, CONNECTIONS_MAX);
  let address: string | undefined;
  let stopped: Promise<void> | undefined;

  return {
    name: 'http server',
    routes,
    renewTokens(renewed) {
      if (config.http.enabled) assertProtected({ ...renewed.http, host, publicUrl });
      context.access.renew(tokensOf(renewed));
    },
    get address() {
      return address;
    },
    async start() {
      if (!config.http.enabled || stopping.signal.aborted) return;
      try {
        await app.listen({ host, port });
      } catch (error) {
        throw listenError(host, port, ADDRESS, error);
      }
      const bound = app.server.address() as AddressInfo;
      const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
      address = `http://${name}:${bound.port}`;
      log.debug({ event: 'http.listening', address }, `HTTP on ${address}`);
    },
    stop(deadline) {
      stopping.abort();
      stopped ??= close(app, connections, deadline).finally(() => {
        address = undefined;
      });
      return stopped;
    },
  };
}

/** The tokens of a configuration by what they allow. */
export function tokensOf({ http }: Config): Tokens {
  return { administer: http.token, write: http.writeToken, read: http.readToken };
}

function build(
  context: HttpContext,
  events: EventsTiming | undefined,
  routes: { method: string; path: string }[],
): FastifyInstance {
  const { config, log } = context;
  const bodyBytesMax = Math.max(BODY_BYTES_MIN, config.jobBytesMax * BODY_PER_JOB_BYTES);
  const bodyOf = ({ headers, routeOptions }: FastifyRequest): BodySize => {
    const bytes = Number(headers['content-length']);
    const bytesMax = routeOptions.bodyLimit;
    return { bytes: bytes > bytesMax ? bytes : undefined, bytesMax };
  };
  const app = fastify({
    bodyLimit: bodyBytesMax,
    requestTimeout: REQUEST_MS_MAX,
    connectionTimeout: CONNECTION_IDLE_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    handlerTimeout: HANDLER_MS_MAX,
    // Connections that answer a request now may finish it; the deadline of `stop` cuts them.
    forceCloseConnections: 'idle',
    // Our own hook answers with a problem document.
    return503OnClosing: false,
    routerOptions: { maxParamLength: PARAM_CHARS_MAX },
    frameworkErrors: (error, request, reply) => {
      const { problem } = toProblem(error, request.url.split('?', 1)[0]!, {
        bytesMax: bodyBytesMax,
      });
      // Fastify types this reply by a schema that no route of ours has.
      (reply as FastifyReply).code(problem.status).type(PROBLEM_TYPE).send(problem);
    },
    clientErrorHandler: (error, socket) => {
      if (socket.destroyed || !socket.writable) return;
      const isTooLarge = error.code === 'HPE_HEADER_OVERFLOW';
      const isSlow = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
      const status = isTooLarge
        ? '431 Request Header Fields Too Large'
        : isSlow
          ? '408 Request Timeout'
          : '400 Bad Request';
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    },
  });
  app.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) routes.push({ method: one, path: url });
  });
  // A form of another page can post text/plain without asking first; only JSON is taken.
  app.removeContentTypeParser('text/plain');
  registerJsonBody(app);

  registerHeaders(app, isTls(config.http.publicUrl));
  const isProbe = (request: FastifyRequest): boolean => needOfRequest(request) === 'probe';
  const limits = registerLimits(app, config.http.ratePerSecondMax, isProbe);
  app.after(() => guard(app, context, limits));

  const { traced } = context;
  if (traced) {
    // Not before the body was read: its events come from the socket, which is in no trace.
    app.addHook('preHandler', (request, _reply, done) => traced(request.headers, done));
  }

  app.setErrorHandler(async (error, request, reply) => {
    const path = request.url.split('?', 1)[0]!;
    const { problem, headers, isOurs } = toProblem(error, path, bodyOf(request));
    if (isOurs) {
      log.error({ event: 'http.failed', method: request.method, path, err: error }, 'HTTP failed');
    }
    if (problem.status === 413) await swallow(request.raw);
    return reply.code(problem.status).headers(headers).type(PROBLEM_TYPE).send(problem);
  });
  app.setNotFoundHandler(async (request) => {
    throw noEndpoint(request);
  });

  // After the plugins above, which must know of every route.
  app.after(() => {
    registerHealth(app, context);
    registerJobs(app, context);
    app.get('/v1/replicas', () => context.replicas());
    registerIsolation(app, context);
    registerMetrics(app, context);
    registerDocument(app, context);
    registerEvents(app, context, events);
    registerOutages(app, context);
    registerPages(app);
    registerStatus(app, context);
    app.register(async (scope) => registerLogin(scope, context, limits));
    app.register(async (scope) => registerBoard(scope, context, bodyBytesMax), {
      prefix: BOARD_PATH,
    });
  });
  return app;
}

/** The door: who asks, whether this may be asked, and whether there is still somebody to answer. */
function guard(app: FastifyInstance, { access, stopping }: HttpContext, limits: Limits): void {
  app.addHook('onRequest', async (request, reply) => {
    const need = needOfRequest(request);
    if (request.headers.authorization !== undefined) checkToken(request, access, limits, need);
    try {
      access.check(request, need);
    } catch (error) {
      if (!(error instanceof AccessDeniedError) || error.kind !== 'unauthenticated') throw error;
      if (wantsForm(request)) return sendToForm(reply);
      throw error;
    }
    // Before its body is looked at, which would be refused for what it is.
    if (request.is404) throw noEndpoint(request);
    if (stopping.aborted && need !== 'probe') {
      throw new ServiceBusyError('This replica is stopping.', 'Try again: another one answers.');
    }
  });
  // Also of what was asked before the stop.
  app.addHook('onSend', async (_request, reply) => {
    if (stopping.aborted) reply.header('connection', 'close');
  });
}

function noEndpoint({ method, url }: FastifyRequest): UnknownEndpointError {
  return new UnknownEndpointError(method, url.split('?', 1)[0]!, endpoints());
}

/**
 * Counts a wrong token, wherever it is shown: each route would tell a right one by its answer. Who has
 * shown too many gets no answer that depends on one; a probe then tells what it tells to anybody.
 */
function checkToken(
  request: FastifyRequest,
  access: HttpContext['access'],
  limits: Limits,
  need: Need,
): void {
  if (!access.isLocked) return;
  const { headers, ip } = request;
  if (limits.wrongTokens.isSpent(ip)) {
    if (need !== 'probe') throw limits.tooManyWrongTokens(ip);
    delete headers.authorization;
  } else if (access.scopeOf(headers) === undefined) limits.wrongTokens.count(ip);
}

function needOfRequest({ method, routeOptions }: FastifyRequest): Need {
  return needOf(method, routeOptions.url);
}

/** Graceful until shortly before `deadline`, then every connection is cut. */
async function close(
  app: FastifyInstance,
  connections: Connections,
  deadline: number,
): Promise<void> {
  const endDrain = connections.drain(deadline);
  try {
    const isListening = app.server.listening;
    const closed = isListening ? once(app.server, 'close') : undefined;
    await app.close();
    await closed;
  } finally {
    endDrain();
  }
}
