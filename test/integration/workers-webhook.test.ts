/** The webhook worker against a receiver on loopback. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { runHandler } from 'holdfast/testing';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { isPublic } from '../../workers/webhook/address.ts';
import { webhookSettings } from '../../workers/webhook/settings.ts';
import webhook from '../../workers/webhook.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const allowed = { secret: SECRET, allowHttp: true, allowPrivate: true };

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

const send = (settings: object = allowed, data: object = {}) =>
  runHandler(
    webhook,
    { url, event: 'faq.completed', payload: { n: 1 }, ...data },
    { id: 'job1', resources: settings },
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

  it('is signed with what the file of the secret says now', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'holdfast-test-webhook-')), 'secret');
    onTestFinished(() => rmSync(dirname(file), { recursive: true }));
    const other = `whsec_${Buffer.from('another secret, changed').toString('base64')}`;
    writeFileSync(file, `${SECRET}\n`);
    const settings = webhookSettings({
      WEBHOOK_SECRET_FILE: file,
      WEBHOOK_ALLOW_HTTP: 'true',
      WEBHOOK_ALLOW_PRIVATE: 'true',
    });
    for (const secret of [SECRET, other]) {
      writeFileSync(file, `${secret}\n`);
      await send(settings);
      const { headers, body } = received.at(-1)!;
      expect(() =>
        new Webhook(secret).verify(body, headers as Record<string, string>),
      ).not.toThrow();
    }
    writeFileSync(file, '');
    expect(settings.secret).toBe(other);
    writeFileSync(file, 'not base64!');
    expect((await send(settings)).error?.message).toContain('WEBHOOK_SECRET');
  });

  it('is tried again with the same id when the receiver is busy, and waits as it asks', async () => {
    answers = [{ status: 503 }, { status: 429, headers: { 'retry-after': '0' } }];
    const { result } = await send();
    expect(result).toMatchObject({ status: 200, tries: 3 });
    expect(new Set(received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });

  it('fails for good when the receiver says no', async () => {
    answers = [{ status: 410 }];
    const { outcome, error } = await send();
    expect(outcome).toBe('failed');
    expect(error?.message).toContain('answered 410');
    expect(received).toHaveLength(1);
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
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]']) {
      const port = new URL(url).port;
      const { error } = await send(
        { ...allowed, allowPrivate: false },
        { url: `http://${host}:${port}/` },
      );
      expect(error?.message).toContain('not a public address');
    }
    expect(received).toHaveLength(0);
  });

  it('refuses data without a URL, and a secret that is none', async () => {
    expect((await send(allowed, { url: 'ftp://x' })).error?.message).toContain('url');
    expect(() => webhookSettings({ WEBHOOK_SECRET: 'not base64!' })).toThrow('WEBHOOK_SECRET');
  });
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
