/** What real servers are warned of before they are an outage: told once, and over when it is over. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { conditions } from '../../src/redis/condition-catalogue.ts';
import { certificate } from '../support/certificates.ts';
import { watchEarly } from '../support/early-warnings.ts';
import { startProxy } from '../support/proxy.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';

const infoOf = async (server: RedisServer, section: string) =>
  String(await server.command('INFO', section));

describe('a server is warned of', () => {
  it('memory-filling: once, and its end once, however often it comes and goes', async () => {
    await using server = await startRedis();
    const { warnings, lines, stand } = watchEarly(new Redis(server.url));
    const used = async () => Number(/used_memory:(\d+)/.exec(await infoOf(server, 'memory'))![1]);
    await server.command('CONFIG', 'SET', 'maxmemory', Math.round((await used()) / 0.95));
    await expect.poll(stand).toEqual(['memory-filling']);
    expect(warnings.list()[0]!.evidence).toMatch(/^9\d %|^10\d %/);
    await server.command('CONFIG', 'SET', 'maxmemory', 1024 ** 3);
    await expect.poll(stand).toEqual([]);
    // It comes back within ten minutes: shown, and not told again.
    await server.command('CONFIG', 'SET', 'maxmemory', Math.round((await used()) / 0.95));
    await expect.poll(stand).toEqual(['memory-filling']);
    expect(lines.map(({ event, condition }) => [event, condition])).toEqual([
      ['warning.began', 'memory-filling'],
      ['warning.ended', 'memory-filling'],
    ]);
  });

  it('clients-near-limit: until enough have left', async () => {
    await using server = await startRedis();
    await server.command('CONFIG', 'SET', 'maxclients', 20);
    const { warnings, stand } = watchEarly(new Redis(server.url));
    const others = Array.from({ length: 17 }, () => new Redis(server.url));
    onTestFinished(() => others.forEach((other) => void other.disconnect()));
    await Promise.all(others.map((other) => other.ping()));
    await expect.poll(stand).toEqual(['clients-near-limit']);
    expect(warnings.list()[0]!.evidence).toMatch(/^1[89] of 20 clients are connected$/);
    for (const other of others.slice(5)) other.disconnect();
    await expect.poll(stand).toEqual([]);
  });

  it('save-failing: a snapshot that cannot be written', async () => {
    await using server = await startRedis();
    const { warnings, stand } = watchEarly(new Redis(server.url));
    const target = join(server.dir, 'dump.rdb');
    mkdirSync(target);
    await server.command('SET', 'a', 'b');
    await server.command('BGSAVE');
    await expect.poll(stand).toEqual(['save-failing']);
    expect(warnings.list()[0]).toMatchObject({
      evidence: 'rdb_last_bgsave_status:err',
      remedy: conditions['save-failing'].remedy,
    });
    rmSync(target, { recursive: true });
    await server.command('BGSAVE');
    await expect.poll(stand).toEqual([]);
  });

  it('slow: answers that come late, until they do not', async () => {
    await using server = await startRedis();
    const proxy = await startProxy(server.port);
    const { warnings, stand } = watchEarly(new Redis(proxy.url));
    proxy.latency(600);
    await expect.poll(stand).toEqual(['slow']);
    expect(warnings.list()[0]!.evidence).toMatch(/^a round trip takes [5-9]\d\d ms$/);
    proxy.latency(0);
    await expect.poll(stand).toEqual([]);
  });

  it('certificate-expiring: two weeks before', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-warnings-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const inDays = (days: number) =>
      `${new Date(Date.now() + days * 86_400_000).toISOString().replace(/[-:T]|\.\d+/g, '')}`;
    const soon = certificate({ folder, name: 'soon', until: inDays(7.5) });
    const late = certificate({ folder, name: 'late', until: inDays(90) });
    const port = await freePort();
    const files = (path: string) => ['tls-cert-file', `${path}.crt`, 'tls-key-file', `${path}.key`];
    const args = [
      'tls-port',
      `${port}`,
      'tls-auth-clients',
      'no',
      'tls-ca-cert-file',
      `${soon}.crt`,
    ];
    await using server = await startRedis({
      args: [...args, ...files(soon)].map((arg, i) => (i % 2 === 0 ? `--${arg}` : arg)),
    });
    const url = `rediss://127.0.0.1:${port}`;
    const tls = { rejectUnauthorized: false };
    const first = watchEarly(new Redis(url, { tls }));
    await expect.poll(first.stand).toEqual(['certificate-expiring']);
    expect(first.warnings.list()[0]!.evidence).toBe('the certificate expires in 7 days');
    await server.command('CONFIG', 'SET', ...files(late));
    const second = watchEarly(new Redis(url, { tls }));
    await expect.poll(second.looks).toBeGreaterThan(5);
    expect(second.stand()).toEqual([]);
  });
});

it('a warning has a test for each word of the catalogue', () => {
  const all = Object.entries(conditions).filter(([, known]) => 'isWarning' in known);
  expect(all.map(([name]) => name).sort()).toEqual([
    'certificate-expiring',
    'clients-near-limit',
    // Our own, told by the pulse: test/integration/metrics.test.ts.
    'event-loop-blocked',
    'memory-filling',
    // Ten seconds of it: test/outage/replica-lag.test.ts.
    'replica-lagging',
    'save-failing',
    'slow',
  ]);
});
