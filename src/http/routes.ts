/**
 * Which route needs which scope, in one place: the door asks this table, the docs are made from it
 * and a test holds the server against it. A route that is missing here needs `administer`, so that
 * forgetting a row closes a door and never opens one.
 */

/** What a caller may do; each includes those before it. */
export const SCOPES = ['read', 'write', 'administer'] as const;
export type Scope = (typeof SCOPES)[number];

/**
 * `open`: anybody who may reach the port; nothing that this service knows is shown.
 * `probe`: as open, with details for those who may read.
 */
export type Need = 'open' | 'probe' | Scope;

export interface RouteRule {
  method: string;
  /** As fastify has it; `*` at the end stands for everything below. */
  path: string;
  need: Need;
  /** A phrase: what it is for. */
  what: string;
}

export const ROUTES: readonly RouteRule[] = [
  rule('GET /livez', 'probe', 'liveness'),
  rule('GET /readyz', 'probe', 'readiness for producers'),
  rule('GET /readyz/consume', 'probe', 'whether this replica takes jobs'),
  rule('GET /readyz/consume/:queue', 'probe', 'whether it takes jobs of a queue'),
  rule('GET /startupz', 'probe', 'whether everything was started'),
  rule('GET /metrics', 'read', 'metrics'),
  rule('GET /', 'read', 'status page'),
  rule('GET /queues', 'administer', 'jobs, in bull-board'),
  rule('* /queues/*', 'administer', 'the same; where no token is set, only for looking'),
  rule('GET /pages/*', 'open', "the pages' style, scripts and icon"),
  rule('GET /login', 'open', 'form that takes a token'),
  rule('POST /login', 'open', 'exchanges a token for a cookie'),
  rule('POST /logout', 'open', 'forgets the cookie'),
  rule('GET /v1/queues', 'read', 'queues and their counts'),
  rule('GET /v1/status', 'read', 'all that the status page shows'),
  rule('GET /v1/status/events', 'read', 'the same, live'),
  rule('GET /v1/replicas', 'read', 'replicas of the fleet'),
  rule('POST /v1/isolate', 'administer', 'keeps this replica from Redis'),
  rule('POST /v1/release', 'administer', 'lets it back'),
  rule('GET /v1/outages', 'read', 'records of outages, newest first'),
  rule('GET /v1/outages/:id', 'read', 'one of them'),
  rule('GET /v1/outages/:id/post-mortem', 'read', 'its post-mortem in Markdown'),
  rule('POST /v1/queues/:queue/jobs', 'write', 'adds jobs'),
  rule('GET /v1/queues/:queue/jobs/:id', 'read', 'a job'),
  rule('GET /v1/queues/:queue/jobs/:id/document', 'read', 'the document that a job wrote'),
  rule('GET /v1/queues/:queue/jobs/:id/events', 'read', 'the progress of a job, live'),
];

/** `GET /path`, what it needs, and what it is for. */
function rule(request: `${string} /${string}`, need: Need, what: string): RouteRule {
  const [method = '', path = ''] = request.split(' ');
  return { method, path, need, what };
}

/** What a caller needs for a route as fastify names it; `undefined` is a path that has no route. */
export function needOf(method: string, path: string | undefined): Need {
  if (path === undefined) return 'read';
  const key = `${method} ${path}`;
  let need = needs.get(key);
  if (need === undefined) {
    need = ruleOf(method, path)?.need ?? 'administer';
    needs.set(key, need);
  }
  return need;
}

/** What was looked up already; as many as there are routes. */
const needs = new Map<string, Need>();

/** The row of a route: an exact one before one with a `*`. */
export function ruleOf(method: string, path: string): RouteRule | undefined {
  const asked = method === 'HEAD' ? 'GET' : method;
  const rows = ROUTES.filter((row) => row.method === asked || row.method === '*');
  return (
    rows.find((row) => row.path === path) ??
    rows.find((row) => row.path.endsWith('*') && path.startsWith(row.path.slice(0, -1)))
  );
}

/** Whether who has `scope` may do what needs `need`. */
export function allows(scope: Scope | undefined, need: Need): boolean {
  if (need === 'open' || need === 'probe') return true;
  return scope !== undefined && SCOPES.indexOf(scope) >= SCOPES.indexOf(need);
}

/** The API in one line, for who asked for something else. */
export function endpoints(): string {
  return ROUTES.filter(({ path, need }) => need === 'probe' || path.startsWith('/v1/'))
    .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`)
    .join(', ');
}
