/** The webhook worker against a receiver on loopback. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { runHandler } from 'holdfast/testing';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isPublic } from '../../workers/webhook/address.ts';
import { deliver, waitOf } from '../../workers/webhook/deliver.ts';
import webhook from '../../workers/webhook.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const allowed = { secret: SECRET, allowUnsigned: false, allowHttp: true, allowPrivate: true };

interface Received {
  headers: IncomingHttpHeaders;
  body: string;
}
let server: Server;
let url: string;
let received: Received[];
let answers: { status: number; headers?: Record<string, string>; body?: string }[];

beforeEach(async () => {
  received = [];
  answers = [];
  server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    received.push({ headers: request.headers, body });
    const answer = answers.shift() ?? { status: 200, body: 'thanks' };
    response.writeHead(answer.status, answer.headers).end(answer.body ?? '');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const send = (settings: object = allowed, data: object = {}, id = 'job1') =>
  runHandler(
    webhook,
    { url, event: 'faq.completed', payload: { n: 1 }, ...data },
    { id, resources: settings },
  );

describe('a webhook', () => {
  it('is signed so that a receiver can verify it, and its answer is recorded', async () => {
    const { outcome, result } = await send();
    expect(outcome).toBe('completed');
    expect(result).toMatchObject({ status: 200, answer: 'thanks', tries: 1 });
    const { headers, body } = received[0]!;
    expect(headers['webhook-id']).toBe('msg_job1');
    const verified = new Webhook(SECRET).verify(body, headers as Record<string, string>);
    expect(verified).toMatchObject({ type: 'faq.completed', data: { n: 1 } });
  });

  it('is tried again with the same id when the receiver is busy, and waits as it asks', async () => {
    answers = [{ status: 503 }, { status: 429, headers: { 'retry-after': '0' } }];
    const { result } = await send();
    expect(result).toMatchObject({ status: 200, tries: 3 });
    expect(new Set(received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });

  it('waits as long as Retry-After asks before the next try', async () => {
    answers = [{ status: 429, headers: { 'retry-after': '1' } }];
    const { result, logs } = await send();
    expect(result).toMatchObject({ status: 200, tries: 2 });
    expect(logs).toMatchObject([{ event: 'webhook.retried', delayMs: 1000 }]);
  });

  it('is put off, without burning an attempt, when the receiver asks for long', async () => {
    answers = [{ status: 429, headers: { 'retry-after': '3600' }, body: 'quota' }];
    const { outcome, delayMs, logs } = await send();
    expect([outcome, delayMs]).toEqual(['delayed', 3_600_000]);
    expect(logs).toMatchObject([
      { event: 'webhook.postponed', msg: expect.stringMatching(/quota/) },
    ]);
    expect(received).toHaveLength(1);
  });

  it('fails for good when the receiver says no, and says what it answered, not the whole URL', async () => {
    answers = [{ status: 410, body: 'gone\nfor good'.padEnd(5000, '!') }];
    const { outcome, error } = await send(allowed, {
      url: `${url}/path-secret?token=query-secret`,
    });
    expect(outcome).toBe('failed');
    expect(error?.message).toContain(`${new URL(url).origin} answered 410: "gone for good!!!`);
    expect(error?.message.length).toBeLessThan(500);
    expect(error?.message).not.toContain('secret');
    expect(received).toHaveLength(1);
  });

  it('does not go out unsigned, unless that is allowed', async () => {
    const { outcome, error } = await send({ ...allowed, secret: undefined });
    expect(outcome).toBe('failed');
    expect(error?.message).toMatch(/WEBHOOK_SECRET.*WEBHOOK_ALLOW_UNSIGNED=true/);
    expect(received).toHaveLength(0);
    const unsigned = await send({ ...allowed, secret: undefined, allowUnsigned: true });
    expect(unsigned.outcome).toBe('completed');
    expect(received[0]?.headers).not.toHaveProperty('webhook-signature');
  });

  it('waits for the next attempt when the file of its secret was replaced by something else', async () => {
    const { outcome, error } = await send({ ...allowed, secret: 'not base64!' });
    expect(outcome).toBe('retried');
    expect(error?.message).toContain('WEBHOOK_SECRET_FILE');
    expect(received).toHaveLength(0);
  });

  it('carries an id in its header whatever the id of its job', async () => {
    expect((await send(allowed, {}, 'Grüße №1 \ud800')).outcome).toBe('completed');
    const { headers, body } = received[0]!;
    expect(headers['webhook-id']).toBe('msg_Gr%C3%BC%C3%9Fe%20%E2%84%961%20%EF%BF%BD');
    expect(() => new Webhook(SECRET).verify(body, headers as Record<string, string>)).not.toThrow();
  });

  it('reads of an endless answer only what it records', async () => {
    const endless = createServer((_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      };
      response.on('drain', more);
      more();
    }).listen(0, '127.0.0.1');
    await once(endless, 'listening');
    const { port } = endless.address() as AddressInfo;
    const { result } = await send(allowed, { url: `http://127.0.0.1:${port}/` });
    expect(result).toMatchObject({ status: 200, answer: 'x'.repeat(2000) });
    endless.close();
  });

  it('is given up on when the receiver never answers: each try has a deadline, and all together', async () => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const retries: string[] = [];
    const delivering = (deadlines: { tryMs: number; attemptMs: number }) =>
      deliver({
        url: new URL(`http://127.0.0.1:${port}/`),
        id: 'msg_1',
        body: '{}',
        settings: { ...allowed, secretFile: undefined },
        signal: new AbortController().signal,
        onRetry: (why) => retries.push(why),
        deadlines,
      });
    await expect(delivering({ tryMs: 30_000, attemptMs: 50 })).rejects.toThrow(/timeout/);
    expect(retries).toHaveLength(0);
    await expect(delivering({ tryMs: 20, attemptMs: 30_000 })).rejects.toThrow('cannot be reached');
    expect(retries).toHaveLength(3);
    silent.closeAllConnections();
    silent.close();
  });

  it('leaves the rest to the attempts of the job when no try comes through', async () => {
    answers = Array.from({ length: 4 }, () => ({ status: 500, headers: { 'retry-after': '0' } }));
    const { outcome, error } = await send();
    expect(outcome).toBe('retried');
    expect(error?.message).toContain('answered 500');
    expect(received).toHaveLength(4);
  });

  it('follows no redirect', async () => {
    answers = [{ status: 302, headers: { location: 'http://169.254.169.254/' } }];
    expect((await send()).error?.message).toContain('answered 302');
  });

  it('goes over plain http or to an address that is not public only when that is allowed', async () => {
    const http = await send({ ...allowed, allowHttp: false });
    expect(http.error?.message).toContain('WEBHOOK_ALLOW_HTTP=true');
    expect(http.outcome).toBe('failed');
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]']) {
      const port = new URL(url).port;
      const { error, outcome } = await send(
        { ...allowed, allowPrivate: false },
        { url: `http://${host}:${port}/` },
      );
      expect(error?.message).toContain('not a public address');
      expect(outcome).toBe('failed');
    }
    expect(received).toHaveLength(0);
  });

  it('refuses data without a URL', async () => {
    expect((await send(allowed, { url: 'ftp://x' })).error?.message).toContain('url');
  });
});

it.each([
  ['0', 0],
  ['120', 120_000],
  ['Fri, 27 Nov 2026 10:00:30 GMT', 30_000],
  ['Fri, 27 Nov 2026 09:00:00 GMT', 0],
  ['99999999', 86_400_000],
  ['soon', undefined],
  [undefined, undefined],
])('understands Retry-After: %s', (header, ms) => {
  expect(waitOf(header, Date.parse('2026-11-27T10:00:00Z'))).toBe(ms);
});

it.each([
  ['93.184.216.34', true],
  ['2606:2800:220:1::1', true],
  ['10.0.0.1', false],
  ['172.16.0.1', false],
  ['192.168.1.1', false],
  ['169.254.169.254', false],
  ['100.64.0.1', false],
  ['0.0.0.0', false],
  ['::', false],
  ['fd00::1', false],
  ['fe80::1', false],
  ['::ffff:10.0.0.1', false],
  ['nonsense', false],
])('knows that %s is public: %s', (address, expected) => {
  expect(isPublic(address)).toBe(expected);
});
