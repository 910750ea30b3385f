import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isProcessAlive } from '../../src/other-process.ts';
import {
  type EmbeddedOptions,
  type EmbeddedRedis,
  readEmbeddedAddress,
  startEmbeddedRedis,
} from '../../src/redis/embedded.ts';
import { freePort } from '../support/redis-server.ts';

function dataFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-test-embedded-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function start(dataDir: string, more: Partial<EmbeddedOptions> = {}): Promise<EmbeddedRedis> {
  const embedded = await startEmbeddedRedis({
    dataDir,
    serverBin: process.env.REDIS_SERVER_BIN,
    log: { info: () => {}, warn: () => {} },
    preferredPort: await freePort(),
    ...more,
  });
  onTestFinished(() => embedded.stop(performance.now() + 5000));
  return embedded;
}

function clientOf(url: string): Redis {
  const client = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  client.on('error', () => {});
  onTestFinished(() => client.disconnect());
  return client;
}

const restarted = (embedded: EmbeddedRedis): Promise<void> =>
  new Promise((resolve) => {
    embedded.onRestart(resolve);
  });
const soon = (): number => performance.now() + 5000;

/** A service in a process of its own, which can be killed. */
async function serviceProcess(dataDir: string): Promise<ChildProcess> {
  const source = `
    import { startEmbeddedRedis } from ${JSON.stringify(new URL('../../src/redis/embedded.ts', import.meta.url).href)};
    const log = { info() {}, warn() {} };
    await startEmbeddedRedis({ dataDir: process.argv[1], serverBin: process.env.REDIS_SERVER_BIN, log, preferredPort: ${await freePort()} });
    process.stdout.write('up');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  if (child.stdout === null) throw new Error('no stdout');
  await once(child.stdout, 'data');
  return child;
}

describe('the embedded Redis', () => {
  it('listens on the preferred port, tells where it is, and is gone after its stop', async () => {
    const dataDir = dataFolder();
    const preferredPort = await freePort();
    const embedded = await start(dataDir, { preferredPort });
    expect(embedded).toMatchObject({ url: `redis://127.0.0.1:${preferredPort}`, durable: true });
    expect(readEmbeddedAddress(dataDir)).toBe(embedded.url);
    const file = join(dataDir, 'redis.json');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ pid: embedded.pid });
    const { pid } = embedded;
    await embedded.stop(soon());
    await embedded.stop(soon());
    expect(isProcessAlive(pid)).toBe(false);
    expect(readEmbeddedAddress(dataDir)).toBeUndefined();
  });

  it('takes a free port when the preferred one is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    onTestFinished(() => {
      other.close();
    });
    const preferredPort = (other.address() as { port: number }).port;
    const embedded = await start(dataFolder(), { preferredPort });
    expect(embedded.url).not.toContain(`:${preferredPort}`);
    expect(await clientOf(embedded.url).ping()).toBe('PONG');
  });

  it('is in a process group of its own, so that Ctrl-C does not end it', async () => {
    const embedded = await start(dataFolder());
    const group = execFileSync('ps', ['-o', 'pgid=', '-p', `${embedded.pid}`], {
      encoding: 'utf8',
    });
    expect(Number(group)).toBe(embedded.pid);
  });

  it('comes back at the same address with its data when it is killed', async () => {
    const embedded = await start(dataFolder());
    const { url, pid } = embedded;
    const client = clientOf(url);
    await client.set('kept', 'yes');
    const back = restarted(embedded);
    process.kill(pid, 'SIGKILL');
    await back;
    expect(embedded.url).toBe(url);
    expect(embedded.pid).not.toBe(pid);
    expect(await client.get('kept')).toBe('yes');
  });

  it('keeps its data over a stop and a start', async () => {
    const dataDir = dataFolder();
    const first = await start(dataDir);
    await clientOf(first.url).set('kept', 'yes');
    await first.stop(soon());
    const second = await start(dataDir);
    expect(await clientOf(second.url).get('kept')).toBe('yes');
  });

  it('is shared by a second service, and stopped by the last one only', async () => {
    const dataDir = dataFolder();
    const [first, second] = [await start(dataDir), await start(dataDir)];
    expect(second.pid).toBe(first.pid);
    await first.stop(soon());
    expect(await clientOf(second.url).ping()).toBe('PONG');
    await second.stop(soon());
    expect(isProcessAlive(second.pid)).toBe(false);
  });

  it('is brought back once when two services see it die', async () => {
    const dataDir = dataFolder();
    const [first, second] = [await start(dataDir), await start(dataDir)];
    const back = Promise.all([restarted(first), restarted(second)]);
    process.kill(first.pid, 'SIGKILL');
    await back;
    expect(second.pid).toBe(first.pid);
    expect(await clientOf(second.url).ping()).toBe('PONG');
  });

  it('outlives a service that is killed, and is adopted by the next', async () => {
    const dataDir = dataFolder();
    const service = await serviceProcess(dataDir);
    const record = JSON.parse(readFileSync(join(dataDir, 'redis.json'), 'utf8'));
    service.kill('SIGKILL');
    await once(service, 'exit');
    const next = await start(dataDir);
    expect(next.pid).toBe(record.pid);
    await next.stop(soon());
    expect(isProcessAlive(record.pid)).toBe(false);
  });

  it('does not believe a record whose process is another program', async () => {
    const dataDir = dataFolder();
    const record = { url: 'redis://127.0.0.1:1', port: 1, pid: process.pid, kind: 'js', users: [] };
    writeFileSync(join(dataDir, 'redis.json'), JSON.stringify(record));
    expect(readEmbeddedAddress(dataDir)).toBeUndefined();
    const embedded = await start(dataDir);
    expect(embedded.pid).not.toBe(process.pid);
  });

  it('names what its server says when it cannot start', async () => {
    const dataDir = dataFolder();
    const first = await start(dataDir);
    await clientOf(first.url).set('a', 'b');
    await first.stop(soon());
    const aof = join(dataDir, 'redis', 'appendonlydir', 'appendonly.aof.manifest');
    writeFileSync(aof, 'nonsense\n');
    await expect(start(dataDir)).rejects.toThrow(/Invalid AOF manifest/);
  });

  it('refuses a named server that is not there', async () => {
    const starting = start(dataFolder(), { serverBin: '/no/such/redis-server' });
    await expect(starting).rejects.toThrow(/REDIS_SERVER_BIN/);
  });
});

describe('the JavaScript fallback', () => {
  it('serves on loopback only, says that it forgets, and ends with its service', async () => {
    const warnings: string[] = [];
    const embedded = await start(dataFolder(), {
      kind: 'js',
      log: { info: () => {}, warn: (_fields, message) => warnings.push(message) },
    });
    expect(embedded).toMatchObject({ kind: 'js', durable: false });
    expect(warnings).toEqual([expect.stringMatching(/memory only/)]);
    const client = clientOf(embedded.url);
    await client.set('a', 'b');
    expect(await client.eval("return redis.call('GET', KEYS[1])", 1, 'a')).toBe('b');
    expect(listeningAddresses(new URL(embedded.url).port)).toEqual(['127.0.0.1']);
    const { pid } = embedded;
    await embedded.stop(soon());
    expect(isProcessAlive(pid)).toBe(false);
  });

  it('is brought back, empty, when it dies', async () => {
    const embedded = await start(dataFolder(), { kind: 'js' });
    const client = clientOf(embedded.url);
    await client.set('a', 'b');
    const back = restarted(embedded);
    process.kill(embedded.pid, 'SIGKILL');
    await back;
    expect(await client.get('a')).toBeNull();
  });
});

/** Local addresses with a listener on this port, over IPv4 and IPv6. */
function listeningAddresses(port: string): string[] {
  if (process.platform !== 'linux') {
    const lines = execFileSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fn'], {
      encoding: 'utf8',
    });
    return [...lines.matchAll(/^n(.*):\d+$/gm)].map(([, host]) => host ?? '');
  }
  const hex = Number(port).toString(16).toUpperCase().padStart(4, '0');
  const isLoopback = (address: string): boolean => address === '0100007F';
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local, , state]) => local?.endsWith(`:${hex}`) && state === '0A')
      .map(([, local]) => local?.split(':')[0] ?? '')
      .map((address) => (isLoopback(address) ? '127.0.0.1' : address)),
  );
}
