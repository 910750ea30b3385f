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
  { method: 'GET', path: '/livez', need: 'probe', what: 'liveness' },
  { method: 'GET', path: '/readyz', need: 'probe', what: 'readiness for producers' },
  {
    method: 'GET',
    path: '/readyz/consume',
    need: 'probe',
    what: 'whether this replica takes jobs',
  },
  {
    method: 'GET',
    path: '/readyz/consume/:queue',
    need: 'probe',
    what: 'whether it takes jobs of a queue',
  },
  { method: 'GET', path: '/startupz', need: 'probe', what: 'whether everything was started' },
  { method: 'GET', path: '/metrics', need: 'read', what: 'metrics' },
  { method: 'GET', path: '/', need: 'read', what: 'status page' },
  { method: 'GET', path: '/queues', need: 'administer', what: 'jobs, in bull-board' },
  {
    method: '*',
    path: '/queues/*',
    need: 'administer',
    what: 'the same; where no token is set, only for looking',
  },
  { method: 'GET', path: '/pages/*', need: 'open', what: "the pages' style, scripts and icon" },
  { method: 'GET', path: '/login', need: 'open', what: 'form that takes a token' },
  { method: 'POST', path: '/login', need: 'open', what: 'exchanges a token for a cookie' },
  { method: 'POST', path: '/logout', need: 'open', what: 'forgets the cookie' },
  { method: 'GET', path: '/v1/queues', need: 'read', what: 'queues and their counts' },
  { method: 'GET', path: '/v1/status', need: 'read', what: 'all that the status page shows' },
  { method: 'GET', path: '/v1/status/events', need: 'read', what: 'the same, live' },
  { method: 'GET', path: '/v1/replicas', need: 'read', what: 'replicas of the fleet' },
  { method: 'GET', path: '/v1/outages', need: 'read', what: 'records of outages, newest first' },
  { method: 'GET', path: '/v1/outages/:id', need: 'read', what: 'one of them' },
  {
    method: 'GET',
    path: '/v1/outages/:id/post-mortem',
    need: 'read',
    what: 'its post-mortem in Markdown',
  },
  { method: 'POST', path: '/v1/queues/:queue/jobs', need: 'write', what: 'adds jobs' },
  { method: 'GET', path: '/v1/queues/:queue/jobs/:id', need: 'read', what: 'a job' },
  {
    method: 'GET',
    path: '/v1/queues/:queue/jobs/:id/document',
    need: 'read',
    what: 'the document that a job wrote',
  },
  {
    method: 'GET',
    path: '/v1/queues/:queue/jobs/:id/events',
    need: 'read',
    what: 'the progress of a job, live',
  },
];

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
