import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Cluster, Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { RedisConfig } from '../../src/config.ts';
import { type ConnectOptions, createRedisClient } from '../../src/redis/connect.ts';
import type { Purpose } from '../../src/redis/options.ts';
import { systemClock } from '../../src/time.ts';
import { redisConfig } from '../support/config.ts';
import { startProxy } from '../support/proxy.ts';
import { freePort, startRedis } from '../support/redis-server.ts';
import { startTarget } from '../support/target.ts';

const quickly: ConnectOptions = { retryPace: () => 20 };

const config = (changes: Partial<RedisConfig>): RedisConfig =>
  redisConfig({ connectTimeoutMs: 500, ...changes });

function open(
  changes: Partial<RedisConfig>,
  purpose: Purpose = 'command',
  options: ConnectOptions = quickly,
): Redis {
  const client = createRedisClient(config(changes), purpose, options);
  onTestFinished(() => client.disconnect());
  if (!(client instanceof Redis)) throw new Error('a single connection was expected');
  return client;
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-test-connect-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

describe('a connection', () => {
  it('works over TCP in the database of the address, and over a unix socket', async () => {
    await using server = await startRedis({ unixSocket: true });
    const tcp = open({ url: `${server.url}/3` });
    const unix = open({ url: `unix://${server.socketPath}?db=3` });
    await tcp.set('a', 'b');
    expect(await unix.get('a')).toBe('b');
    expect(await tcp.client('GETNAME')).toBe('holdfast:command');
  });

  it('takes a rotated password from its file at the next connect', async () => {
    await using server = await startRedis({ args: ['--requirepass', 'first'] });
    const passwordFile = join(folder(), 'password');
    writeFileSync(passwordFile, 'first\n');
    const client = open({ url: server.url, passwordFile });
    const copy = client.duplicate();
    onTestFinished(() => copy.disconnect());
    expect(await client.ping()).toBe('PONG');
    expect(await copy.ping()).toBe('PONG');
    await client.config('SET', 'requirepass', 'second');
    // As Kubernetes does it: the file is replaced in one step.
    writeFileSync(`${passwordFile}.new`, 'second\n');
    renameSync(`${passwordFile}.new`, passwordFile);
    for (const each of [client, copy]) {
      const ready = once(each, 'ready');
      each.disconnect(true);
      await ready;
      expect(await each.ping()).toBe('PONG');
    }
  });

  it('takes a new user and password from the file of its URL, unless that names another server', async () => {
    await using server = await startRedis();
    const urlFile = join(folder(), 'url');
    const urlOf = (login: string, port = server.port) => `redis://${login}@127.0.0.1:${port}/2`;
    await server.command('ACL', 'SETUSER', 'one', 'on', '>first', '~*', '&*', '+@all');
    await server.command('ACL', 'SETUSER', 'two', 'on', '>second', '~*', '&*', '+@all');
    writeFileSync(urlFile, `${urlOf('one:first')}\n`);
    const errors: Error[] = [];
    const client = open({ url: urlOf('one:first'), urlFile }, 'command', {
      ...quickly,
      onError: (error) => errors.push(error),
    });
    expect(await client.acl('WHOAMI')).toBe('one');
    const again = async () => {
      const ready = once(client, 'ready');
      client.disconnect(true);
      await ready;
      return await client.acl('WHOAMI');
    };
    writeFileSync(urlFile, `${urlOf('two:second')}\n`);
    expect(await again()).toBe('two');
    for (const other of [urlOf('one:first', server.port + 1), 'nonsense', '']) {
      writeFileSync(urlFile, other);
      expect(await again()).toBe('two');
    }
    expect(errors.map((error) => error.name)).toContain('RedisUrlError');
    expect(await client.config('GET', 'port')).toEqual(['port', `${server.port}`]);
  });

  it('shows no password in the errors of a refused login', async () => {
    await using server = await startRedis({ args: ['--requirepass', 'right'] });
    const errors: unknown[] = [];
    const client = open({ url: server.url, password: 'hunter2', username: 'default' }, 'probe', {
      onError: (error) => errors.push(error),
    });
    const failure = await client.connect().then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(Error);
    expect(errors.map(String).join()).toContain('WRONGPASS');
    const { inspect } = await import('node:util');
    expect(inspect([...errors, failure], { depth: 9, showHidden: true })).not.toContain('hunter2');
  });

  it('shows no payload in the error of a failed command', async () => {
    await using server = await startRedis();
    const client = open({ url: server.url });
    await client.set('text', 'x');
    const error = await client.lpush('text', 'a payload').catch((e: unknown) => e);
    expect(error).toMatchObject({ command: { name: 'lpush' } });
    expect(JSON.stringify(error)).not.toContain('payload');
  });

  it('rejects what was in flight when it closes, and works again by itself', async () => {
    await using server = await startRedis();
    await using proxy = await startProxy(server.port);
    const client = open({ url: proxy.url }, 'blocking');
    await client.ping();
    const pending = client.blpop('nothing', 0).then(
      () => 'settled',
      (error: Error) => error.name,
    );
    await expect.poll(() => proxy.connections()[0]?.recentRequests()).toMatch(/blpop/i);
    proxy.reset();
    expect(await pending).toBe('MaxRetriesPerRequestError');
    await once(client, 'ready');
    expect(await client.ping()).toBe('PONG');
    expect(await server.command('CLIENT', 'LIST')).not.toMatch(/cmd=blpop/);
  });

  it('does not wait for ever for a peer that accepts and says nothing', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    onTestFinished(() => {
      silent.close();
    });
    const { port } = silent.address() as { port: number };
    const told = new Promise<Error>((resolve) => {
      open({ url: `redis://127.0.0.1:${port}`, connectTimeoutMs: 50 }, 'command', {
        ...quickly,
        onError: resolve,
      });
    });
    expect((await told).message).toMatch(/no answer within 50 ms/);
  });

  it('is not ready while the server loads, and survives that longer than its time-out', async () => {
    await using server = await startRedis({
      aof: 'no',
      args: ['--key-load-delay', '500', '--loading-process-events-interval-bytes', '1024'],
    });
    await server.command('EVAL', "for i=1,4000 do redis.call('SET', i, 'x') end", 0);
    await server.start();
    const errors: string[] = [];
    const client = open({ url: server.url, connectTimeoutMs: 1000 }, 'command', {
      ...quickly,
      onError: (error) => errors.push(error.message),
    });
    const readAfterMs = performance.now();
    await expect.poll(() => client.get('4000').catch(() => 'away'), { timeout: 10_000 }).toBe('x');
    // Loading lasted longer than the time-out, else this would have shown nothing.
    expect(performance.now() - readAfterMs).toBeGreaterThan(1000);
    expect(errors.filter((text) => /no answer/.test(text))).toEqual([]);
  });
});

describe('TLS', () => {
  it('is verified against the given authority, and asks for the given name', async () => {
    const dir = folder();
    const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key],
        ...['-out', cert, '-subj', '/CN=redis.test', '-addext', 'subjectAltName=DNS:redis.test'],
      ],
      { stdio: 'ignore' },
    );
    const port = await freePort();
    await using _server = await startRedis({
      args: [
        ...['--tls-port', `${port}`, '--tls-cert-file', cert, '--tls-key-file', key],
        ...['--tls-ca-cert-file', cert, '--tls-auth-clients', 'yes'],
      ],
    });
    const tls = {
      caFile: cert,
      certFile: cert,
      keyFile: key,
      serverName: 'redis.test',
      rejectUnauthorized: true,
    };
    const url = `rediss://127.0.0.1:${port}`;
    const good = open({ url, tls });
    expect(await good.ping()).toBe('PONG');
    const stranger = open({ url, tls: { ...tls, serverName: 'other.test' } }, 'probe');
    await expect(stranger.connect()).rejects.toThrow();
  });
});

describe('Sentinel', () => {
  it('is asked as the user that is set, with the present password of a file', async () => {
    await using master = await startRedis();
    await using sentinel = await startRedis({
      sentinel: [
        `sentinel monitor main 127.0.0.1 ${master.port} 1`,
        'user default off',
        'user asker on >first ~* &* +@all',
      ],
    });
    const sentinelPasswordFile = join(folder(), 'password');
    writeFileSync(sentinelPasswordFile, 'first\n');
    const client = open({
      sentinels: [{ host: '127.0.0.1', port: sentinel.port }],
      sentinelName: 'main',
      sentinelUsername: 'asker',
      sentinelPassword: 'first',
      sentinelPasswordFile,
    });
    expect(await client.ping()).toBe('PONG');
    const login = { username: 'asker', password: 'first', lazyConnect: true };
    const admin = new Redis(sentinel.port, '127.0.0.1', login);
    onTestFinished(() => admin.disconnect());
    await admin.acl('SETUSER', 'asker', '<first', '>second');
    writeFileSync(sentinelPasswordFile, 'second\n');
    const before = await client.client('ID');
    client.disconnect(true);
    const id = () => client.client('ID').catch(() => undefined);
    await expect.poll(id, { timeout: 10_000 }).toBeGreaterThan(before);
  });

  it('leads to the master, and to the new one after a failover', async () => {
    await using master = await startRedis();
    await using replica = await startRedis({
      args: ['--replicaof', '127.0.0.1', `${master.port}`],
    });
    await using sentinel = await startRedis({
      sentinel: [
        `sentinel monitor main 127.0.0.1 ${master.port} 1`,
        'sentinel down-after-milliseconds main 500',
        'sentinel failover-timeout main 2000',
      ],
    });
    await expect
      .poll(() => sentinel.command('SENTINEL', 'replicas', 'main'), { timeout: 15_000 })
      .toHaveLength(1);
    const client = open({
      sentinels: [{ host: '127.0.0.1', port: sentinel.port }],
      sentinelName: 'main',
    });
    await client.set('a', '1');
    expect(await master.command('GET', 'a')).toBe('1');
    await master.kill();
    await expect
      .poll(() => client.set('a', '2').catch(() => 'not yet'), { timeout: 20_000, interval: 100 })
      .toBe('OK');
    expect(await replica.command('GET', 'a')).toBe('2');
  });
});

describe('Cluster', () => {
  it('is found through one node, with the password of the file at each connect', async () => {
    await using node = await startRedis({
      args: [
        ...['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'],
        ...['--requirepass', 'first'],
      ],
    });
    const admin = open({ url: node.url, password: 'first' });
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    await expect
      .poll(() => admin.call('CLUSTER', 'INFO'), { timeout: 10_000 })
      .toMatch(/cluster_state:ok/);
    const passwordFile = join(folder(), 'password');
    writeFileSync(passwordFile, 'first');
    const clusterNodes = [{ host: '127.0.0.1', port: node.port }];
    const cluster = createRedisClient(config({ clusterNodes, passwordFile }), 'command', quickly);
    onTestFinished(() => cluster.disconnect());
    expect(await cluster.set('a', '1')).toBe('OK');
    await admin.config('SET', 'requirepass', 'second');
    writeFileSync(passwordFile, 'second');
    for (const connection of (cluster as Cluster).nodes()) connection.disconnect();
    await expect.poll(() => cluster.get('a').catch(() => 'not yet'), { timeout: 10_000 }).toBe('1');
  });

  it('is named as a mistake of TLS when a plain port never answers the handshake', async () => {
    const server = await startRedis();
    const target = await startTarget(`rediss://127.0.0.1:${server.port}`);
    await expect.poll(() => target.state().condition, { timeout: 20_000 }).toBe('tls');
    await target.stop(systemClock.now() + 500);
    await server.stop();
  });
});
