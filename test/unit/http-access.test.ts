import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accessRules, isLoopback } from '../../src/http/access.ts';

const get = (headers: Record<string, string>) => ({ method: 'GET', headers });
const post = (headers: Record<string, string>) => ({ method: 'POST', headers });

describe('what counts as loopback', () => {
  it.each(['127.0.0.1', '127.8.9.1', '::1', '[::1]', 'localhost', 'LOCALHOST', '::ffff:127.0.0.1'])(
    '%s does',
    (host) => expect(isLoopback(host)).toBe(true),
  );
  it.each([
    '0.0.0.0',
    '::',
    '10.0.0.1',
    'example.com',
    'localhost.example.com',
    '127.0.0.1.nip.io',
    '',
  ])('%s does not', (host) => expect(isLoopback(host)).toBe(false));
});

describe('a service on loopback', () => {
  const rules = accessRules({ host: '127.0.0.1' });

  it.each(['127.0.0.1:8080', 'localhost:9000', '[::1]:8080', 'localhost'])(
    'serves what is addressed to %s',
    (host) => expect(() => rules.check(post({ host }), 'write')).not.toThrow(),
  );

  it.each([
    'evil.example',
    'evil.example:8080',
    '127.0.0.1.evil.example',
    '',
    'a b',
    '192.168.1.2',
  ])('refuses what is addressed to "%s", as after DNS rebinding', (host) =>
    expect(() => rules.check(get({ host }), 'read')).toThrow(/loopback only/),
  );

  it('refuses web pages of other origins, also of another port of this machine', () => {
    const host = 'localhost:8080';
    for (const origin of ['https://evil.example', 'http://localhost:3000', 'null', 'garbage']) {
      expect(() => rules.check(post({ host, origin }), 'write')).toThrow(/may not ask/);
      expect(() => rules.check(get({ host, origin }), 'read')).toThrow(/may not ask/);
    }
    expect(() =>
      rules.check(post({ host, origin: 'http://localhost:8080' }), 'write'),
    ).not.toThrow();
  });

  it('refuses a change that a browser says comes from another site, and lets its links pass', () => {
    const host = 'localhost:8080';
    for (const site of ['cross-site', 'same-site']) {
      expect(() => rules.check(post({ host, 'sec-fetch-site': site }), 'write')).toThrow(
        /another site/,
      );
      expect(() => rules.check(get({ host, 'sec-fetch-site': site }), 'read')).not.toThrow();
    }
    expect(() =>
      rules.check(post({ host, 'sec-fetch-site': 'same-origin' }), 'write'),
    ).not.toThrow();
  });
});

describe('a resource of a service', () => {
  const rules = accessRules({ host: '127.0.0.1' });
  const from = (site: string, mode: string) =>
    get({ host: 'localhost:8080', 'sec-fetch-site': site, 'sec-fetch-mode': mode });

  it('is not loaded into a page of another site, which may only lead to it', () => {
    expect(() => rules.check(from('cross-site', 'no-cors'), 'read')).toThrow(/another site/);
    expect(() => rules.check(from('same-site', 'no-cors'), 'open')).toThrow(/another site/);
    expect(() => rules.check(from('cross-site', 'navigate'), 'read')).not.toThrow();
    expect(() => rules.check(from('same-origin', 'no-cors'), 'read')).not.toThrow();
  });
});

describe('a service with a token', () => {
  const token = 'correct-horse-battery-staple';
  const rules = accessRules({ host: '0.0.0.0', tokens: { administer: token } });

  it('serves who has it, under any host name', () => {
    const headers = { host: 'jobs.example', authorization: `Bearer ${token}` };
    expect(() => rules.check(post(headers), 'write')).not.toThrow();
    expect(() =>
      rules.check(post({ ...headers, authorization: `bearer  ${token}` }), 'write'),
    ).not.toThrow();
  });

  it('serves nobody else', () => {
    const anyOther = fc.string().filter((text) => text.trim() !== token);
    fc.assert(
      fc.property(anyOther, (text) => {
        expect(() => rules.check(post({ authorization: `Bearer ${text}` }), 'write')).toThrow(
          /token/,
        );
      }),
    );
    expect(() => rules.check(post({}), 'write')).toThrow(/wants a token/);
    expect(() => rules.check(post({ authorization: `Basic ${token}` }), 'write')).toThrow(/token/);
  });

  it('tells a prober without it no more than a status', () => {
    expect(rules.maySeeDetail({})).toBe(false);
    expect(rules.maySeeDetail({ authorization: `Bearer ${token}` })).toBe(true);
    expect(accessRules({ host: '127.0.0.1' }).maySeeDetail({})).toBe(true);
    expect(accessRules({ host: '0.0.0.0' }).maySeeDetail({})).toBe(false);
  });
});

describe('a service that listens elsewhere, asked by a browser', () => {
  const rules = accessRules({
    host: '0.0.0.0',
    tokens: { administer: 'correct-horse-battery-staple' },
    publicOrigin: 'https://jobs.example',
    allowedHosts: ['Jobs.Internal'],
  });
  const authorization = 'Bearer correct-horse-battery-staple';
  const port = ':18765';

  it.each([
    { origin: `http://evil.example${port}` },
    { referer: `http://evil.example${port}/page` },
    { 'sec-fetch-site': 'same-origin' },
    { 'sec-fetch-dest': 'empty' },
    { 'accept-language': 'en-GB,en;q=0.5' },
  ])('refuses a name that is not its own, whatever shows the browser: %o', (shown) => {
    const headers = { host: `evil.example${port}`, authorization, ...shown };
    for (const request of [get(headers), post(headers)]) {
      expect(() => rules.check(request, 'administer')).toThrow(/no name that this service knows/);
      expect(() => rules.check(request, 'open')).toThrow(/HTTP_ALLOWED_HOSTS/);
    }
  });

  it.each([
    'localhost:8080',
    '127.0.0.1:8080',
    '192.168.1.20:8080',
    '[fd00::5]:8080',
    'jobs.example',
    'jobs.internal:8080',
  ])('serves it under %s', (host) => {
    const origin = host === 'jobs.example' ? 'https://jobs.example' : `http://${host}`;
    const headers = { host, authorization, origin, 'accept-language': 'de' };
    expect(() => rules.check(post(headers), 'write')).not.toThrow();
  });

  it.each([
    {},
    { 'sec-fetch-mode': 'cors', 'accept-language': '*', 'user-agent': 'node' },
    { 'user-agent': 'curl/8.5.0', accept: '*/*' },
    { 'user-agent': 'kube-probe/1.33' },
  ])('serves programs under any name: %o', (headers) => {
    expect(() =>
      rules.check(post({ host: 'worker:8080', authorization, ...headers }), 'write'),
    ).not.toThrow();
  });
});
