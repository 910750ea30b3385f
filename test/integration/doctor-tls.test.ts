/** `holdfast doctor` and certificates: real ones of openssl, before a real server behind TLS. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { RedisConfig } from '../../src/config.ts';
import { certificate } from '../support/certificates.ts';
import { examine, problems, theProblem } from '../support/doctor.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let folder: string;
let redis: RedisServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-test-tls-'));
  redis = await startRedis({ aof: true });
});
afterAll(async () => {
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** TLS in front of the server, with this certificate. */
async function behindTls(path: string): Promise<number> {
  const options = { key: readFileSync(`${path}.key`), cert: readFileSync(`${path}.crt`) };
  const front = createServer(options, (socket) => {
    const back = connect(redis.port, '127.0.0.1');
    socket.on('error', () => back.destroy());
    back.on('error', () => socket.destroy());
    socket.pipe(back).pipe(socket);
  });
  front.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void front.close());
  return (front.address() as { port: number }).port;
}

function tls(caFile?: string): Partial<RedisConfig> {
  return {
    tls: {
      caFile,
      certFile: undefined,
      keyFile: undefined,
      serverName: undefined,
      rejectUnauthorized: true,
    },
  };
}

it('TLS on a plain port, and plain on a TLS port', async () => {
  expect(theProblem(await examine(`rediss://127.0.0.1:${redis.port}`))).toMatchObject({
    check: 'tls',
    status: 'fail',
    condition: 'tls',
    title: `127.0.0.1:${redis.port} speaks plain Redis, not TLS`,
    remedy: expect.stringContaining('Use redis:// instead of rediss://'),
  });
  const port = await behindTls(certificate({ folder, name: 'fine' }));
  expect(theProblem(await examine(`redis://127.0.0.1:${port}`))).toMatchObject({
    check: 'protocol',
    condition: 'tls',
    title: `127.0.0.1:${port} speaks TLS, and the address says plain`,
    remedy: expect.stringContaining('Use rediss:// instead of redis://'),
  });
});

it('a self-signed certificate, and the same when it is trusted', async () => {
  const path = certificate({ folder, name: 'own' });
  const url = `rediss://127.0.0.1:${await behindTls(path)}`;
  expect(theProblem(await examine(url, { redis: tls() }))).toMatchObject({
    check: 'tls',
    status: 'fail',
    title: "The server's certificate is self-signed and not trusted here",
    evidence: expect.stringContaining('DEPTH_ZERO_SELF_SIGNED_CERT'),
    remedy: expect.stringContaining('REDIS_TLS_CA_FILE'),
  });
  const trusted = await examine(url, { redis: tls(`${path}.crt`) });
  expect(problems(trusted)).toEqual([]);
  const { title, evidence } = trusted.findings.find(({ check }) => check === 'tls')!;
  expect(title).toBe('TLSv1.3 with a certificate that is trusted for 127.0.0.1');
  expect(evidence).toMatch(/\(36[45] days\)$/);
});

it('an expired certificate, and one that soon will be', async () => {
  const old = certificate({
    folder,
    name: 'old',
    from: '20200101000000Z',
    until: '20210101000000Z',
  });
  const expired = await examine(`rediss://127.0.0.1:${await behindTls(old)}`, {
    redis: tls(`${old}.crt`),
  });
  expect(theProblem(expired)).toMatchObject({ check: 'tls', status: 'fail', condition: 'tls' });
  expect(theProblem(expired).title).toMatch(/^The server's certificate expired \d+ days ago$/);

  const soon = new Date(Date.now() + 10.5 * 86_400_000).toISOString().replace(/[-:T]|\.\d+/g, '');
  const late = certificate({ folder, name: 'late', from: '20200101000000Z', until: soon });
  const report = await examine(`rediss://127.0.0.1:${await behindTls(late)}`, {
    redis: tls(`${late}.crt`),
  });
  expect(theProblem(report)).toMatchObject({
    status: 'warn',
    condition: 'certificate-expiring',
    title: "The server's certificate expires in 10 days",
  });
});

it('a certificate for another host', async () => {
  const path = certificate({ folder, name: 'other', altNames: 'DNS:redis.example' });
  const report = await examine(`rediss://127.0.0.1:${await behindTls(path)}`, {
    redis: tls(`${path}.crt`),
  });
  expect(theProblem(report)).toMatchObject({
    check: 'tls',
    title: "The server's certificate is not for 127.0.0.1",
    evidence: expect.stringContaining('DNS:redis.example'),
    remedy: expect.stringContaining('REDIS_TLS_SERVER_NAME'),
  });
});

it('a file for TLS that cannot be read', async () => {
  const report = await examine(`rediss://127.0.0.1:${redis.port}`, {
    redis: tls('/nowhere/ca.crt'),
  });
  expect(theProblem(report)).toMatchObject({
    check: 'tls',
    title: 'A file for TLS cannot be read',
    evidence: expect.stringContaining('/nowhere/ca.crt'),
  });
});
