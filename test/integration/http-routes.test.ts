/** The table of routes against the server: every route × every token × every bind. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allows, needOf, ROUTES, type RouteRule, ruleOf, SCOPES } from '../../src/http/routes.ts';
import { withRoutes } from '../../src/http/routes-page.ts';
import { testConfig } from '../support/config.ts';
import { type HttpService, rawRequest, startHttpService } from '../support/http-service.ts';
import { startRedis } from '../support/redis-server.ts';

const TOKENS = {
  read: 'token-of-a-reader',
  write: 'token-of-a-producer',
  administer: 'token-of-an-operator',
} as const;
const HTTP = testConfig().http;
const LOCKED = {
  ...HTTP,
  token: TOKENS.administer,
  writeToken: TOKENS.write,
  readToken: TOKENS.read,
};

const BINDS = {
  'loopback without tokens': HTTP,
  'loopback with tokens': LOCKED,
  elsewhere: { ...LOCKED, host: '0.0.0.0' },
};
const services = new Map<string, HttpService>();

beforeAll(async () => {
  const redis = await startRedis();
  for (const [bind, http] of Object.entries(BINDS)) {
    services.set(bind, await startHttpService(redis.url, { config: { http } }));
  }
});
afterAll(async () => {
  for (const service of services.values()) await service[Symbol.asyncDispose]();
});

const serviceOf = (bind: string) => services.get(bind)!;
const urlOf = (service: HttpService) => service.url.replace('0.0.0.0', '127.0.0.1');

const placeOf = (path: string) =>
  path
    .replace(':queue', 'faq')
    .replace(':id', 'none')
    .replace('/pages/*', '/pages/page.css')
    .replace('/queues/*', '/queues/api/queues');

/** What the door said; a page's own answer is `served`. The body of a stream would never end. */
async function answerOf(bind: string, { method, path }: RouteRule, token?: string) {
  const sent = new AbortController();
  const place = placeOf(path);
  const response = await fetch(urlOf(serviceOf(bind)) + place, {
    method: method === '*' ? 'GET' : method,
    redirect: 'manual',
    signal: sent.signal,
    ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
  });
  sent.abort();
  const isRefusal = response.headers.get('content-type')?.startsWith('application/');
  return isRefusal && [401, 403, 429].includes(response.status) ? response.status : 'served';
}

describe('the table of routes', () => {
  it('has every route of the server, and no other', () => {
    const { routes } = serviceOf('elsewhere').server;
    const missing = routes.filter(({ method, path }) => ruleOf(method, path) === undefined);
    expect(missing).toEqual([]);
    const unused = ROUTES.filter(
      (rule) => !routes.some(({ method, path }) => ruleOf(method, path) === rule),
    );
    expect(unused).toEqual([]);
  });

  it('closes what it does not have to all but administrators', () => {
    expect(needOf('DELETE', '/v1/forgotten')).toBe('administer');
    expect(needOf('PUT', '/livez')).toBe('administer');
  });

  it('stands in the documentation', () => {
    const page = readFileSync('docs/security.md', 'utf8');
    expect(page).toBe(withRoutes(page));
  });
});

describe.each(Object.keys(BINDS))('on %s', (bind) => {
  const isLocked = bind !== 'loopback without tokens';

  describe.each(ROUTES)('$method $path ($need)', (rule) => {
    it.each([undefined, ...SCOPES])('with the token of %s', async (scope) => {
      const answer = await answerOf(bind, rule, scope && TOKENS[scope]);
      if (!isLocked || allows(scope, rule.need)) expect(answer).toBe('served');
      else expect(answer).toBe(scope === undefined ? 401 : 403);
    });

    it('from a page that made its name lead here, with the token of an operator', async () => {
      const { port } = new URL(urlOf(serviceOf(bind)));
      const host = `evil.example:${port}`;
      const method = rule.method === '*' ? 'GET' : rule.method;
      const authorization = `Bearer ${TOKENS.administer}`;
      const shown =
        method === 'GET' ? { referer: `http://${host}/` } : { origin: `http://${host}` };
      const headers = { host, authorization, ...shown };
      const url = urlOf(serviceOf(bind));
      expect((await rawRequest(url, placeOf(rule.path), { method, headers })).status).toBe(403);
    });
  });

  // Last: then nobody's token is looked at for a minute.
  it.each(ROUTES)('$method $path is not served for a wrong token', async (rule) => {
    const answer = await answerOf(bind, rule, 'token-of-nobody');
    if (!isLocked || rule.need === 'probe') expect(answer).toBe('served');
    else if (rule.need === 'open') expect(['served', 429]).toContain(answer);
    else expect([401, 429]).toContain(answer);
  });
});
