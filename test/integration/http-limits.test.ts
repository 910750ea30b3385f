/** Sessions, limits and headers of the HTTP side, as a browser or an attacker meets them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BOARD_PATH } from '../../src/http/board.ts';
import { WRONG_TOKENS_PER_MINUTE_MAX } from '../../src/http/limits.ts';
import { SESSION_SECONDS, scopeOfSession, sessionOf } from '../../src/http/session.ts';
import { testConfig } from '../support/config.ts';
import { type HttpService, rawRequest, startHttpService } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const TOKENS = { administer: 'token-of-an-operator', read: 'token-of-a-reader' };
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
let redis: RedisServer;
let service: HttpService;

const start = (http: Partial<ReturnType<typeof testConfig>['http']>) =>
  startHttpService(redis.url, { config: { http: { ...testConfig().http, ...http } } });

beforeAll(async () => {
  redis = await startRedis();
  service = await start({ token: TOKENS.administer, readToken: TOKENS.read });
});
afterAll(() => service[Symbol.asyncDispose]());

const signIn = (to: HttpService, token: string) =>
  fetch(`${to.url}/login`, {
    method: 'POST',
    headers: FORM,
    body: new URLSearchParams({ token }).toString(),
    redirect: 'manual',
  });
const cookieOf = (response: Response) => response.headers.getSetCookie()[0] ?? '';

describe('a session', () => {
  const now = 1_700_000_000_000;

  it('has the scope of its token until its end, and no longer than the token is valid', () => {
    const session = sessionOf('read', TOKENS, now);
    expect(scopeOfSession(session, TOKENS, now)).toBe('read');
    expect(scopeOfSession(session, TOKENS, now + SESSION_SECONDS * 1000 + 1)).toBeUndefined();
    expect(scopeOfSession(session, { ...TOKENS, read: 'changed' }, now)).toBeUndefined();
  });

  it('cannot be raised to another scope or prolonged', () => {
    const session = sessionOf('read', TOKENS, now);
    expect(scopeOfSession(session.replace('read', 'administer'), TOKENS, now)).toBeUndefined();
    expect(scopeOfSession(session.replace(/\.\d/, '.9'), TOKENS, now)).toBeUndefined();
    expect(scopeOfSession('administer', TOKENS, now)).toBeUndefined();
    expect(scopeOfSession('', TOKENS, now)).toBeUndefined();
  });

  it('reads for a reader, changes nothing, and a change needs a page of our own', async () => {
    const cookie = cookieOf(await signIn(service, TOKENS.read)).split(';')[0]!;
    const ask = (path: string, headers = {}, method = 'GET') =>
      rawRequest(service.url, path, { method, headers: { host: 'localhost', cookie, ...headers } });
    expect((await ask('/v1/queues')).status).toBe(200);
    const own = { origin: 'http://localhost' };
    expect((await ask('/v1/queues/faq/jobs', own, 'POST')).status).toBe(403);
    const admin = cookieOf(await signIn(service, TOKENS.administer)).split(';')[0]!;
    const silent = await ask('/v1/queues/faq/jobs', { cookie: admin }, 'POST');
    expect(silent).toMatchObject({ status: 403, body: expect.stringMatching(/another site/) });
    const ours = await ask('/v1/queues/faq/jobs', { cookie: admin, ...own }, 'POST');
    expect(ours.status).toBe(400);
  });

  it('travels by TLS only where the service is reached so', async () => {
    const publicUrl = 'https://jobs.example';
    await using behind = await start({ token: TOKENS.administer, publicUrl });
    const cookie = cookieOf(await signIn(behind, TOKENS.administer));
    expect(cookie).toMatch(/^__Host-holdfast=.*; Path=\/; HttpOnly; Secure; SameSite=Strict$/);
    expect(cookieOf(await signIn(service, TOKENS.administer))).not.toMatch(/Secure/);
    const headers = { host: 'jobs.example', cookie: cookie.split(';')[0]!, origin: publicUrl };
    expect((await rawRequest(behind.url, '/v1/queues', { headers })).status).toBe(200);
    const answer = await rawRequest(behind.url, '/livez', { headers });
    expect(answer.headers['strict-transport-security']).toMatch(/max-age=31536000/);
  });

  it('does not let a service be public without a token', async () => {
    await expect(start({ publicUrl: 'https://jobs.example' })).rejects.toThrow(/HTTP_TOKEN/);
  });
});

describe('one address', () => {
  it('may not ask without end, and is told when to come again; probes are always answered', async () => {
    await using small = await start({ ratePerSecondMax: 5 });
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++) statuses.push((await fetch(`${small.url}/v1/queues`)).status);
    expect(statuses.slice(0, 5)).toEqual(Array(5).fill(200));
    expect(statuses).toContain(429);
    const refused = await fetch(`${small.url}/v1/queues`);
    expect(await refused.json()).toMatchObject({ code: 'HOLDFAST_RATE_LIMITED' });
    expect(refused.headers.get('retry-after')).toBe('1');
    for (let i = 0; i < 12; i++) expect((await fetch(`${small.url}/livez`)).status).toBe(200);
  });

  it('may not try tokens without end, neither in the form nor in the header', async () => {
    await using guessed = await start({ token: TOKENS.administer });
    const statuses: number[] = [];
    for (let i = 0; i < WRONG_TOKENS_PER_MINUTE_MAX; i++) {
      const headers = { authorization: `Bearer guess-${i}` };
      const attempt =
        i % 2 ? signIn(guessed, `guess-${i}`) : fetch(`${guessed.url}/v1/queues`, { headers });
      statuses.push((await attempt).status);
    }
    expect(new Set(statuses)).toEqual(new Set([401]));
    expect((await signIn(guessed, 'one more')).status).toBe(429);
    // The right one is not told from a wrong one any more, by no route.
    const headers = { authorization: `Bearer ${TOKENS.administer}` };
    for (const path of ['/v1/queues', '/login', '/pages/page.css']) {
      const answer = await fetch(guessed.url + path, { headers, redirect: 'manual' });
      expect([path, answer.status]).toEqual([path, 429]);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(1);
    }
    expect((await signIn(guessed, TOKENS.administer)).status).toBe(429);
    const probe = await fetch(`${guessed.url}/readyz`, { headers });
    expect(await probe.json()).toEqual({ service: 'holdfast', status: 'ok' });
  });

  it('that tries tokens at a probe has as many tries, and one with a cookie goes on', async () => {
    await using guessed = await start({ token: TOKENS.administer });
    const cookie = cookieOf(await signIn(guessed, TOKENS.administer)).split(';')[0]!;
    for (let i = 0; i < WRONG_TOKENS_PER_MINUTE_MAX; i++) {
      const headers = { authorization: `Bearer guess-${i}` };
      expect((await fetch(`${guessed.url}/livez`, { headers })).status).toBe(200);
    }
    expect((await signIn(guessed, TOKENS.administer)).status).toBe(429);
    expect((await fetch(`${guessed.url}/v1/queues`, { headers: { cookie } })).status).toBe(200);
  });
});

it('a form that is too large is refused with the limit of forms', async () => {
  const refused = await signIn(service, 'x'.repeat(10_000));
  expect(refused.status).toBe(413);
  expect(await refused.json()).toMatchObject({ bytes: 10_006, bytesMax: 8192 });
});

describe('every answer', () => {
  it.each(['/', '/login', '/v1/queues', '/nothing-here', '/livez'])(
    'of %s has a policy without inline scripts, and lets nobody frame or sniff it',
    async (path) => {
      const headers = { authorization: `Bearer ${TOKENS.administer}` };
      const answer = await fetch(service.url + path, { headers, redirect: 'manual' });
      const policy = answer.headers.get('content-security-policy') ?? '';
      expect(policy).toContain("default-src 'none'");
      expect(policy).not.toContain('unsafe');
      expect(policy).toContain("frame-ancestors 'none'");
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      expect(answer.headers.get('cache-control')).toMatch(/no-store/);
    },
  );

  it('of bull-board allows style attributes, and scripts of its own only', async () => {
    const headers = { authorization: `Bearer ${TOKENS.administer}` };
    const answer = await fetch(`${service.url}${BOARD_PATH}/`, { headers });
    const policy = answer.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(/script-src 'self';/);
    expect(policy).toMatch(/style-src 'self' 'unsafe-inline'/);
  });

  it.each([
    '/pages/..%2f..%2fserver.ts',
    '/pages/../server.ts',
    '/pages/%2e%2e/server.ts',
    '/queues/static/..%2f..%2fpackage.json',
    '/queues/static/../../package.json',
    '/v1/queues/..%2f..%2fetc/jobs/..%2fpasswd/document',
  ])('to %s shows no file', async (path) => {
    const headers = { host: 'localhost', authorization: `Bearer ${TOKENS.administer}` };
    const answer = await rawRequest(service.url, path, { headers });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.body).not.toMatch(/"version"|import /);
  });
});
