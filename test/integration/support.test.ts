import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/redis-server.ts';

function clientOf(url: string): Redis {
  const client = new Redis(url, { retryStrategy: () => null, maxRetriesPerRequest: 0 });
  client.on('error', () => {});
  return client;
}

describe('a server of the test helper', () => {
  it('answers, dies, and comes back with its data when it has an append-only file', async () => {
    await using server = await startRedis({ aof: 'always' });
    expect(await server.command('SET', 'a', '1')).toBe('OK');
    await server.kill();
    expect(server.pid).toBeUndefined();
    await expect(server.command('PING')).rejects.toThrow();
    await server.restart();
    expect(await server.command('GET', 'a')).toBe('1');
  });

  it('comes back without what was written after a snapshot', async () => {
    await using server = await startRedis({ aof: true });
    await server.command('SET', 'kept', '1');
    const snapshot = server.snapshotAof();
    await server.command('SET', 'lost', '1');
    await server.restartFrom(snapshot);
    expect(await server.command('MGET', 'kept', 'lost')).toEqual(['1', null]);
  });

  it('answers nothing while frozen and everything after', async () => {
    await using server = await startRedis();
    const client = clientOf(server.url);
    await client.ping();
    server.freeze();
    let answered = false;
    const reply = client.ping().then((text) => {
      answered = true;
      return text;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(answered).toBe(false);
    server.thaw();
    expect(await reply).toBe('PONG');
    client.disconnect();
  });

  it('says what the server printed when it cannot start', async () => {
    await expect(startRedis({ args: ['--no-such-setting', '1'] })).rejects.toThrow(
      /no-such-setting/,
    );
  });

  it('is ready when it asks for a password, and listens on a socket when asked to', async () => {
    await using server = await startRedis({ args: ['--requirepass', 'x'], unixSocket: true });
    const client = new Redis(server.socketPath, { password: 'x' });
    expect(await client.ping()).toBe('PONG');
    client.disconnect();
  });

  it('runs as a Sentinel', async () => {
    await using master = await startRedis();
    await using sentinel = await startRedis({
      sentinel: [`sentinel monitor mymaster 127.0.0.1 ${master.port} 1`],
    });
    expect(await sentinel.command('SENTINEL', 'get-master-addr-by-name', 'mymaster')).toEqual([
      '127.0.0.1',
      `${master.port}`,
    ]);
  });
});

describe('a proxy of the test helper', () => {
  it('passes, resets and refuses', async () => {
    await using server = await startRedis();
    await using proxy = await startProxy(server.port);
    const client = clientOf(proxy.url);
    expect(await client.ping()).toBe('PONG');
    expect(proxy.connections()).toHaveLength(1);
    const closed = new Promise((resolve) => client.once('close', () => resolve('closed')));
    proxy.reset();
    expect(await closed).toBe('closed');
    await proxy.refuse();
    await expect(clientOf(proxy.url).ping()).rejects.toThrow();
    await proxy.heal();
    const again = clientOf(proxy.url);
    expect(await again.ping()).toBe('PONG');
    again.disconnect();
  });

  it('holds what goes into a black hole until it heals', async () => {
    await using server = await startRedis();
    await using proxy = await startProxy(server.port);
    const client = clientOf(proxy.url);
    await client.ping();
    proxy.blackHole();
    const reply = client.set('a', '1');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await server.command('EXISTS', 'a')).toBe(0);
    await proxy.heal();
    expect(await reply).toBe('OK');
    client.disconnect();
  });

  it('lets new connections pass while existing ones are dead for good', async () => {
    await using server = await startRedis();
    await using proxy = await startProxy(server.port);
    const dead = clientOf(proxy.url);
    await dead.ping();
    proxy.blackHole({ new: false, forever: true });
    let answered = false;
    dead.ping().then(
      () => {
        answered = true;
      },
      () => {},
    );
    await proxy.heal();
    const fresh = clientOf(proxy.url);
    expect(await fresh.ping()).toBe('PONG');
    expect(answered).toBe(false);
    dead.disconnect();
    fresh.disconnect();
  });

  it('lets requests act whose replies vanish', async () => {
    await using server = await startRedis();
    await using proxy = await startProxy(server.port);
    const client = clientOf(proxy.url);
    await client.ping();
    proxy.dropReplies();
    const reply = client.set('a', '1');
    await expect.poll(() => server.command('GET', 'a')).toBe('1');
    await proxy.heal();
    expect(await reply).toBe('OK');
    client.disconnect();
  });

  it('slows both ways and tells connections apart by what they sent', async () => {
    await using server = await startRedis();
    await using proxy = await startProxy(server.port);
    const [blocking, command] = [clientOf(proxy.url), clientOf(proxy.url)];
    await Promise.all([command.ping(), blocking.ping()]);
    const popped = blocking.bzpopmin('q', 0).catch(() => 'cut');
    const find = () => proxy.connections().filter((c) => /bzpopmin/i.test(c.recentRequests()));
    await expect.poll(() => find().length).toBe(1);
    proxy.latency(200);
    const started = performance.now();
    await command.ping();
    expect(performance.now() - started).toBeGreaterThan(190);
    find()[0]?.reset();
    expect(await popped).toBe('cut');
    command.disconnect();
  });
});
