/**
 * What a real server says when something is wrong, and the one word that Holdfast makes of it: over
 * plain commands, and over scripts, since BullMQ's operations are scripts.
 */
import { mkdirSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { conditionOf } from '../../src/redis/conditions.ts';
import { createRedisClient } from '../../src/redis/connect.ts';
import { probe } from '../../src/redis/probe.ts';
import { systemClock } from '../../src/time.ts';
import { startProxy } from '../support/proxy.ts';
import { freePort, startRedis } from '../support/redis-server.ts';
import { testConfig } from '../support/target.ts';

const WRITE = "return redis.call('SET', KEYS[1], ARGV[1])";

function connect(url: string, purpose: 'probe' | 'command' = 'command', stepMs = 3000): Redis {
  const { redis } = testConfig(url);
  const client = createRedisClient({ ...redis, connectTimeoutMs: stepMs }, purpose, {
    retryPace: () => null,
  }) as Redis;
  onTestFinished(() => client.disconnect());
  return client;
}

/** The error of the breaker's own probe. */
async function probeError(url: string, stepTimeoutMs = 3000): Promise<unknown> {
  const running = probe({
    connect: () => connect(url, 'probe', stepTimeoutMs),
    clock: systemClock,
    probeKey: 'probe',
    stepTimeoutMs,
    signal: new AbortController().signal,
  });
  return await errorOf(running);
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    (value) => expect.fail(`no error, but ${String(value)}`),
    (error: unknown) => error,
  );
}

/** Every way in which BullMQ may meet the server's refusal of a write. */
async function writeErrors(client: Redis): Promise<Record<string, unknown>> {
  const bulk = await client.pipeline().set('a', 'b').eval(WRITE, 1, 'a', 'b').exec();
  return {
    'a command': await errorOf(client.set('a', 'b')),
    'a script': await errorOf(client.eval(WRITE, 1, 'a', 'b')),
    'a pipelined command': bulk![0]![0],
    'a pipelined script': bulk![1]![0],
    'a transaction': await errorOf(client.multi().set('a', 'b').exec()),
    'a scripted transaction': await errorOf(
      client
        .multi()
        .eval(WRITE, 1, 'a', 'b')
        .exec()
        .then((replies) => {
          // A script that is refused at its run fails alone; the transaction answers.
          const error = replies?.[0]?.[0];
          if (error) throw error;
        }),
    ),
  };
}

function named(errors: Record<string, unknown>): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(errors).map(([way, error]) => [
      way,
      conditionOf(error) ?? `unknown: ${(error as Error).message}`,
    ]),
  );
}

async function expectEachWrite(client: Redis, condition: string): Promise<void> {
  const found = named(await writeErrors(client));
  expect(found).toEqual(Object.fromEntries(Object.keys(found).map((way) => [way, condition])));
}

describe('a server that refuses writes is named over commands, scripts and transactions', () => {
  it('no-replicas: min-replicas-to-write', async () => {
    await using server = await startRedis();
    const client = connect(server.url);
    await server.command('CONFIG', 'SET', 'min-replicas-to-write', 1);
    await expectEachWrite(client, 'no-replicas');
    expect(conditionOf(await probeError(server.url))).toBe('no-replicas');
  });

  it('read-only: a master that was demoted', async () => {
    await using server = await startRedis();
    const client = connect(server.url);
    await client.ping();
    await server.command('REPLICAOF', '127.0.0.1', await freePort());
    await server.command('CONFIG', 'SET', 'replica-serve-stale-data', 'yes');
    // A demoted server makes ioredis connect anew, so each way gets a connection of its own.
    const probed = await probeError(server.url);
    expect(conditionOf(probed)).toBe('read-only');
    expect(conditionOf(await errorOf(connect(server.url).set('a', 'b')))).toBe('read-only');
    expect(conditionOf(await errorOf(connect(server.url).eval(WRITE, 1, 'a', 'b')))).toBe(
      'read-only',
    );
    expect(conditionOf(await errorOf(connect(server.url).multi().set('a', 'b').exec()))).toBe(
      'read-only',
    );
  });

  it('master-down: a replica that may not serve stale data', async () => {
    await using server = await startRedis({ args: ['--replica-serve-stale-data', 'no'] });
    const client = connect(server.url);
    await client.ping();
    await server.command('REPLICAOF', '127.0.0.1', await freePort());
    expect(conditionOf(await errorOf(client.get('a')))).toBe('master-down');
    expect(
      conditionOf(await errorOf(client.eval("return redis.call('GET', KEYS[1])", 1, 'a'))),
    ).toBe('master-down');
  });

  it('out-of-memory: maxmemory', async () => {
    await using server = await startRedis();
    const client = connect(server.url);
    await client.ping();
    await server.command('CONFIG', 'SET', 'maxmemory', 1);
    await expectEachWrite(client, 'out-of-memory');
    expect(conditionOf(await probeError(server.url))).toBe('out-of-memory');
  });

  it('cannot-persist: a snapshot that failed', async () => {
    await using server = await startRedis();
    const client = connect(server.url);
    await client.set('a', 'b');
    mkdirSync(join(server.dir, 'dump.rdb'));
    await server.command('CONFIG', 'SET', 'save', '1 1');
    await server.command('BGSAVE');
    await expect
      .poll(async () => await server.command('INFO', 'persistence'))
      .toContain('rdb_last_bgsave_status:err');
    await expectEachWrite(client, 'cannot-persist');
    expect(conditionOf(await probeError(server.url))).toBe('cannot-persist');
  });

  it('busy-script: a script that does not end', async () => {
    await using server = await startRedis({ args: ['--busy-reply-threshold', '20'] });
    const client = connect(server.url);
    await client.ping();
    const endless = connect(server.url).eval('while true do end', 0);
    endless.catch(() => undefined);
    await expect
      .poll(async () => conditionOf(await client.set('a', 'b').catch((error: unknown) => error)))
      .toBe('busy-script');
    await expectEachWrite(client, 'busy-script');
    expect(conditionOf(await probeError(server.url))).toBe('busy-script');
    await client.call('SCRIPT', 'KILL');
  });

  it('cluster-down: a cluster node whose slots are not served', async () => {
    await using server = await startRedis({ args: ['--cluster-enabled', 'yes'] });
    const client = connect(server.url, 'probe');
    await client.connect();
    await expectEachWrite(client, 'cluster-down');
  });
});

describe('a server that lets nobody in is named', () => {
  it('auth-required: a password is wanted and none was given', async () => {
    await using server = await startRedis({ args: ['--requirepass', 'secret'] });
    expect(conditionOf(await probeError(server.url))).toBe('auth-required');
  });

  it('wrong-password', async () => {
    await using server = await startRedis({ args: ['--requirepass', 'secret'] });
    const { port } = server;
    expect(conditionOf(await probeError(`redis://:wrong@127.0.0.1:${port}`))).toBe(
      'wrong-password',
    );
    expect(conditionOf(await probeError(`redis://nobody:secret@127.0.0.1:${port}`))).toBe(
      'wrong-password',
    );
  });

  it('no-permission: a command, a key, and both within a script', async () => {
    await using server = await startRedis();
    const { port } = server;
    await server.command('ACL', 'SETUSER', 'half', 'on', '>p', '~mine:*', '+@all', '-set', '-info');
    const client = connect(`redis://half:p@127.0.0.1:${port}`, 'probe');
    await client.connect();
    const read = "return redis.call('GET', KEYS[1])";
    const foreign = "return redis.call('GET', 'theirs')";
    const found = named({
      command: await errorOf(client.set('mine:a', 'b')),
      key: await errorOf(client.get('theirs')),
      'script command': await errorOf(client.eval(WRITE, 1, 'mine:a', 'b')),
      'script key': await errorOf(client.eval(read, 1, 'theirs')),
      'undeclared script key': await errorOf(client.eval(foreign, 1, 'mine:a')),
      transaction: await errorOf(client.multi().set('mine:a', 'b').exec()),
      probe: await probeError(`redis://half:p@127.0.0.1:${port}`),
    });
    expect(found).toEqual(
      Object.fromEntries(Object.keys(found).map((way) => [way, 'no-permission'])),
    );
  });

  it('max-clients', async () => {
    await using server = await startRedis();
    const first = connect(server.url);
    await first.ping();
    await first.config('SET', 'maxclients', 1);
    for (let attempt = 0; attempt < 5; attempt += 1) {
      expect(conditionOf(await probeError(server.url))).toBe('max-clients');
    }
  });

  it('loading: a dataset that takes its time', async () => {
    await using server = await startRedis({
      args: ['--loading-process-events-interval-bytes', '1024'],
    });
    await server.command('DEBUG', 'POPULATE', 3000);
    // Microseconds for each key: the reload takes three seconds, and says LOADING meanwhile.
    await server.command('CONFIG', 'SET', 'key-load-delay', 1000);
    const client = connect(server.url, 'probe');
    await client.connect();
    const reloading = server.command('DEBUG', 'RELOAD');
    await expect.poll(async () => conditionOf(await pingError(client))).toBe('loading');
    await expectEachWrite(client, 'loading');
    expect(conditionOf(await probeError(server.url))).toBe('loading');
    await server.command('CONFIG', 'SET', 'key-load-delay', 0).catch(() => undefined);
    await reloading;
  });
});

async function pingError(client: Redis): Promise<unknown> {
  return await client.get('a').catch((error: unknown) => error);
}

describe('a server that cannot be reached is named', () => {
  it('refused: nobody listens, and a connection that was reset', async () => {
    expect(conditionOf(await probeError(`redis://127.0.0.1:${await freePort()}`))).toBe('refused');
    expect(conditionOf(await probeError(`redis://localhost:${await freePort()}`))).toBe('refused');
    expect(conditionOf(await probeError('unix:///nowhere/redis.sock'))).toBe('refused');

    await using server = await startRedis();
    const client = connect(server.url);
    await client.ping();
    const waiting = errorOf(client.blpop('a', 0));
    await server.kill();
    expect(conditionOf(await waiting)).toBe('refused');
    expect(conditionOf(await errorOf(client.get('a')))).toBe('refused');
  });

  it('dns: a name that does not exist', async () => {
    expect(conditionOf(await probeError('redis://redis.invalid:6379'))).toBe('dns');
  });

  it('frozen: accepted, and then nothing', async () => {
    await using server = await startRedis();
    server.freeze();
    expect(conditionOf(await probeError(server.url, 200))).toBe('frozen');
    server.thaw();
  });

  it('frozen: requests arrive and replies vanish', async () => {
    await using server = await startRedis();
    const proxy = await startProxy(server.port);
    proxy.dropReplies();
    expect(conditionOf(await probeError(proxy.url, 200))).toBe('frozen');
  });

  it('tls: a plain Redis that is spoken to in TLS and waits for the end of a line', async () => {
    await using server = await startRedis();
    expect(conditionOf(await probeError(`rediss://127.0.0.1:${server.port}`))).toBe('tls');
    server.freeze();
    expect(conditionOf(await probeError(`rediss://127.0.0.1:${server.port}`))).toBe('frozen');
    server.thaw();
  });

  it('not-redis: a port that speaks HTTP', async () => {
    const other = createHttpServer((_request, response) => response.end());
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void other.close());
    const { port } = other.address() as { port: number };
    expect(conditionOf(await probeError(`redis://127.0.0.1:${port}`))).toBe('not-redis');
  });

  it('tls: something else that answers in plain text', async () => {
    const other = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => socket.write('-ERR who are you\r\n'));
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void other.close());
    const address = other.address() as { port: number };
    const error = await probeError(`rediss://127.0.0.1:${address.port}`, 1000);
    expect(conditionOf(error)).toBe('tls');
  });
});

it('disconnected: a blocking read on a master that is demoted', async () => {
  await using server = await startRedis();
  const client = connect(server.url);
  await client.ping();
  const waiting = errorOf(client.bzpopmin('a', 0));
  await expect.poll(async () => await server.command('CLIENT', 'LIST')).toMatch(/cmd=bzpopmin/);
  await server.command('REPLICAOF', '127.0.0.1', await freePort());
  expect(conditionOf(await waiting)).toBe('disconnected');
});

it('a mistake of a caller is no condition of Redis', async () => {
  await using server = await startRedis();
  const client = connect(server.url);
  await client.set('text', 'b');
  const errors = {
    'wrong type': await errorOf(client.lpush('text', 'x')),
    'wrong type in a script': await errorOf(
      client.eval("return redis.call('LPUSH', KEYS[1], 'x')", 1, 'text'),
    ),
    'unknown command': await errorOf(client.call('NOSUCHCOMMAND')),
    'an unknown script': await errorOf(client.evalsha('0'.repeat(40), 0)),
    'a script with a mistake': await errorOf(client.eval('return nil + 1', 0)),
    'an error that quotes the names of conditions': await errorOf(
      client.eval("return redis.error_reply('ERR no job LOADING, no queue OOM or READONLY')", 0),
    ),
    'an existing group': await client
      .xgroup('CREATE', 'stream', 'group', '$', 'MKSTREAM')
      .then(() => errorOf(client.xgroup('CREATE', 'stream', 'group', '$'))),
  };
  for (const [what, error] of Object.entries(errors)) {
    expect(conditionOf(error), `${what}: ${(error as Error).message}`).toBeUndefined();
  }
});
