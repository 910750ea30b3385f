/** `holdfast doctor` on servers that can be reached and are not as they should be. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { examine, problems, skipped, theProblem } from '../support/doctor.ts';
import { freePort, startRedis } from '../support/redis-server.ts';

describe('the state of the server', () => {
  it('a replica', async () => {
    await using master = await startRedis({ aof: true });
    await using replica = await startRedis({ aof: true });
    await replica.command('REPLICAOF', '127.0.0.1', master.port);
    const found = problems(await examine(replica.url));
    expect(found[0]).toMatchObject({
      check: 'server',
      status: 'fail',
      condition: 'read-only',
      remedy: expect.stringContaining(`127.0.0.1:${master.port}`),
    });
    expect(found).toHaveLength(1);
  });

  it('loading', async () => {
    await using server = await startRedis({
      aof: true,
      args: ['--loading-process-events-interval-bytes', '1024'],
    });
    await server.command('DEBUG', 'POPULATE', 20_000);
    await server.command('CONFIG', 'SET', 'key-load-delay', 300);
    const reloading = server.command('DEBUG', 'RELOAD');
    await expect
      .poll(() => server.command('GET', 'a').catch((error: Error) => error.message))
      .toMatch(/^LOADING/);
    const report = await examine(server.url);
    expect(problems(report)).toContainEqual(
      expect.objectContaining({ check: 'server', status: 'fail', condition: 'loading' }),
    );
    expect(skipped(report, 'bullmq')).toEqual(['Not looked at: Redis is loading its dataset']);
    await server.command('CONFIG', 'SET', 'key-load-delay', 0).catch(() => undefined);
    await reloading.catch(() => undefined);
  });

  it('allkeys-lru with a limit, and without one', async () => {
    await using server = await startRedis({ aof: true });
    await server.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    expect(theProblem(await examine(server.url))).toMatchObject({
      check: 'configuration',
      status: 'warn',
      title: 'Redis would throw jobs away as soon as it gets a limit (allkeys-lru)',
    });
    await server.command('CONFIG', 'SET', 'maxmemory', '100mb');
    expect(theProblem(await examine(server.url))).toMatchObject({
      status: 'fail',
      title: 'Redis throws jobs away when its memory is full (allkeys-lru)',
      remedy: expect.stringContaining('CONFIG SET maxmemory-policy noeviction'),
    });
  });

  it('no persistence', async () => {
    await using server = await startRedis();
    expect(theProblem(await examine(server.url))).toMatchObject({
      check: 'configuration',
      status: 'fail',
      title: 'Nothing is written to disk: a restart of Redis loses every job',
    });
  });

  it('full memory', async () => {
    await using server = await startRedis({ aof: true });
    await server.command('CONFIG', 'SET', 'maxmemory', '1');
    const found = problems(await examine(server.url));
    expect(found).toMatchObject([
      { check: 'resources', status: 'fail', condition: 'out-of-memory' },
    ]);
  });

  it('a disk that takes no saves', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-doctor-disk-'));
    await using server = await startRedis({ args: ['--save', '3600 1', '--dir', folder] });
    rmSync(folder, { recursive: true });
    await server.command('SET', 'a', 'b');
    await server.command('BGSAVE');
    await expect
      .poll(() => server.command('INFO', 'persistence'))
      .toContain('rdb_last_bgsave_status:err');
    expect(problems(await examine(server.url))).toMatchObject([
      { check: 'configuration', status: 'warn' },
      { check: 'resources', status: 'fail', condition: 'cannot-persist' },
    ]);
  });

  it('as many clients as maxclients allows', async () => {
    await using server = await startRedis({ aof: true });
    const others = [1, 2, 3].map(() => new Redis(server.port, '127.0.0.1'));
    onTestFinished(() => others.forEach((client) => void client.disconnect()));
    await Promise.all(others.map((client) => client.ping()));
    await others[0]!.config('SET', 'maxclients', 3);
    const report = await examine(server.url);
    expect(theProblem(report)).toMatchObject({
      check: 'protocol',
      status: 'fail',
      condition: 'max-clients',
    });
    await others[0]!.config('SET', 'maxclients', 5);
    const near = problems(await examine(server.url));
    expect(near.map(({ condition }) => condition)).toEqual([
      'clients-near-limit',
      'clients-near-limit',
    ]);
  });

  it('limits that cut connections off', async () => {
    await using server = await startRedis({
      aof: true,
      args: ['--timeout', '5', '--tcp-keepalive', '0', '--min-replicas-to-write', '1'],
    });
    await server.command('CONFIG', 'SET', 'client-output-buffer-limit', 'normal 1048576 0 0');
    const found = problems(await examine(server.url));
    expect(found.map(({ title }) => title)).toEqual(
      expect.arrayContaining([
        'Redis closes connections that are idle for 5 s',
        expect.stringContaining('does not notice clients that have vanished'),
        expect.stringContaining('larger than 1.0 MiB'),
        expect.stringContaining('too few replicas'),
      ]),
    );
  });

  it('a Valkey by its INFO', async () => {
    const port = await stub(
      '# Server\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\nredis_version:7.2.4\r\nserver_mode:standalone\r\nuptime_in_seconds:90000\r\nrun_id:a\r\n# Clients\r\nconnected_clients:1\r\nmaxclients:10000\r\n# Memory\r\nused_memory:1000000\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\ntotal_system_memory:8000000000\r\n# Persistence\r\nloading:0\r\naof_enabled:1\r\nrdb_last_bgsave_status:ok\r\naof_last_write_status:ok\r\n# Replication\r\nrole:master\r\nmaster_replid:b\r\n',
    );
    const report = await examine(`redis://127.0.0.1:${port}`);
    const { title } = report.findings.find(({ check }) => check === 'server')!;
    expect(title).toBe('Valkey 8.1.1, master, up for 25 h');
    expect(problems(report)).toEqual([]);
  });
});

describe('Sentinel and Cluster', () => {
  it('looks at the master that the Sentinels name, and says when they name none', async () => {
    await using master = await startRedis({ aof: true });
    const line = `sentinel monitor jobs 127.0.0.1 ${master.port} 1`;
    await using sentinel = await startRedis({ sentinel: [line] });
    const sentinels = [
      { host: '127.0.0.1', port: sentinel.port },
      { host: '127.0.0.1', port: await freePort() },
    ];
    const report = await examine(undefined, { redis: { sentinels, sentinelName: 'jobs' } });
    expect(theProblem(report)).toMatchObject({
      check: 'tcp',
      status: 'warn',
      condition: 'refused',
    });
    expect(report.findings.find(({ check }) => check === 'auth')?.title).toBe(
      `Connected as user default at 127.0.0.1:${master.port}`,
    );
    const wrong = await examine(undefined, {
      redis: { sentinels: sentinels.slice(0, 1), sentinelName: 'other' },
    });
    expect(theProblem(wrong)).toMatchObject({
      check: 'auth',
      title: 'The Sentinels name no master "other"',
      remedy: expect.stringContaining('REDIS_SENTINEL_NAME'),
    });
  });

  it('a Cluster without hash tag, and with slots that nobody serves', async () => {
    await using node = await startRedis({
      aof: true,
      args: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'],
    });
    await node.command('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383);
    await expect
      .poll(() => node.command('CLUSTER', 'INFO'), { timeout: 10_000 })
      .toContain('cluster_state:ok');
    const clusterNodes = [{ host: '127.0.0.1', port: node.port }];
    const tagged = { clusterNodes, prefix: '{bull}' };
    expect(problems(await examine(undefined, { redis: tagged }))).toEqual([]);
    expect(theProblem(await examine(undefined, { redis: { clusterNodes } }))).toMatchObject({
      check: 'configuration',
      status: 'fail',
      evidence: 'QUEUE_PREFIX=bull',
      remedy: expect.stringContaining('QUEUE_PREFIX={bull}'),
    });
    await node.command('CLUSTER', 'DELSLOTS', 1);
    await expect.poll(() => node.command('CLUSTER', 'INFO')).toContain('cluster_state:fail');
    expect(theProblem(await examine(undefined, { redis: tagged }))).toMatchObject({
      check: 'server',
      status: 'fail',
      condition: 'cluster-down',
    });
  });
});

describe('the queues', () => {
  it('stuck, orphaned and failed jobs, and a version that falls silent', async () => {
    await using server = await startRedis({ aof: true });
    const queue = new Queue('mail', { connection: { port: server.port, host: '127.0.0.1' } });
    onTestFinished(() => queue.close());
    const { id } = await queue.add('send', {}, { timestamp: Date.now() - 3_600_000 });
    const at = Date.now();
    await server.command('RPUSH', 'bull:mail:active', 'dead-1', 'dead-2', 'lives');
    await server.command('SET', 'bull:mail:lives:lock', 'token', 'PX', 60_000);
    await server.command('SET', 'bull:mail:gone:lock', 'token');
    await server.command('HSET', 'bull:mail:meta', 'version', 'bullmq:6.2.0');
    for (let n = 0; n < 6; n += 1) await server.command('ZADD', 'bull:mail:failed', at, `f${n}`);
    await server.command(
      'HSET',
      'bull:mail:f5',
      'failedReason',
      'job stalled more than allowable limit',
    );
    expect(id).toBeDefined();
    const found = problems(await examine(server.url)).map(({ title, remedy }) => [title, remedy]);
    expect(found).toEqual([
      ['mail: the oldest job has waited for 1 h', expect.stringContaining('handler of mail')],
      [
        'mail: 2 jobs active without a lock: the worker has died',
        expect.stringContaining('within 1 min'),
      ],
      [
        'mail: 1 job failed for having stalled too often',
        expect.stringContaining('holdfast retry'),
      ],
      ['mail: 6 jobs failed in the last hour', expect.stringContaining('holdfast failed mail')],
      [
        'BullMQ 6.2.0 may stop taking jobs for ever after an outage',
        expect.stringContaining('6.3.3'),
      ],
      ['1 lock of jobs that are not active', expect.stringContaining('DEL')],
    ]);
  });
});

/** A server that answers INFO with this text, and what else the doctor asks with the least there is. */
async function stub(info: string): Promise<number> {
  const replies: Record<string, string> = {
    PING: '+PONG\r\n',
    INFO: `$${info.length}\r\n${info}\r\n`,
    TIME: time(),
    SCAN: '*2\r\n$1\r\n0\r\n*0\r\n',
    SET: '+OK\r\n',
    ZREVRANGE: '*0\r\n',
    CONFIG: '*0\r\n',
    ACL: '+OK\r\n',
  };
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      const commands = chunk.toString().match(/\*\d+\r\n\$\d+\r\n(\w+)|^PING\r\n/g) ?? [];
      for (const command of commands) {
        const name = /(\w+)(\r\n)?$/.exec(command)![1]!.toUpperCase();
        socket.write(name === 'TIME' ? time() : (replies[name] ?? ':0\r\n'));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as { port: number }).port;
}

function time(): string {
  const seconds = `${Math.floor(Date.now() / 1000)}`;
  const micros = `${(Date.now() % 1000) * 1000}`;
  return `*2\r\n$${seconds.length}\r\n${seconds}\r\n$${micros.length}\r\n${micros}\r\n`;
}
