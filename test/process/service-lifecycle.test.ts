/** How services are found and told, how short lives end, and what their log lines are made of. */
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Queue } from 'bullmq';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ServiceStoppedError } from '../../src/errors.ts';
import { createService } from '../../src/service.ts';
import type { ServiceOptions } from '../../src/service-contract.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { killServices, type LogLine, ServiceProcess } from '../support/service-process.ts';

const BIN = fileURLToPath(new URL('../../src/bin.mjs', import.meta.url));
const SCHEMA = new URL('../../docs/logs.schema.json', import.meta.url);

let server: RedisServer;
let workers: string;
beforeAll(async () => {
  server = await startRedis();
  workers = newFolder();
  writeFileSync(
    join(workers, 'sum.mjs'),
    `export default { queue: 'sum', concurrency: 1, handler({ data }) {
       if (data.throws === 'once') throw new Error('no sum: redis://u:hunter2@h');
       if (data.throws === 'later') setTimeout(() => { throw new Error('thrown from a timer'); });
       return data.a + data.b;
     } };`,
  );
});
afterEach(async () => {
  await killServices();
  await server.command('FLUSHALL');
});
afterAll(() => server.stop());

const newFolder = () => mkdtempSync(join(tmpdir(), 'holdfast-life-'));
const start = (env: Record<string, string> = {}, args: string[] = []) =>
  new ServiceProcess({ REDIS_URL: server.url, WORKERS_DIR: workers, ...env }, args);

async function holdfast(args: string[], env: Record<string, string>, cwd = newFolder()) {
  const options = { cwd, env: { PATH: process.env.PATH, HTTP_PORT: '0', ...env } };
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [BIN, ...args], options)) };
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string };
  }
}

async function addTo(url: string, ...jobs: object[]): Promise<void> {
  const { hostname: host, port } = new URL(url);
  const producer = new Queue('sum', { connection: { host, port: Number(port) } });
  await producer.addBulk(jobs.map((data) => ({ name: 'sum', data })));
  await producer.close();
}

const notesIn = (dataDir: string) =>
  readdirSync(dataDir).filter((file) => file.startsWith('service-'));

describe('holdfast quiet', () => {
  it('tells every service of the data folder, and leaves alone who has the id of a dead one', async () => {
    const dataDir = newFolder();
    const first = start({ DATA_DIR: dataDir, REPLICA: 'one' });
    const second = start({ DATA_DIR: dataDir, REPLICA: 'two' });
    await Promise.all([first.until('service.started'), second.until('service.started')]);
    expect(notesIn(dataDir)).toHaveLength(2);
    for (const file of notesIn(dataDir)) {
      expect(statSync(join(dataDir, file)).mode & 0o777).toBe(0o600);
    }
    const stranger = spawn('sleep', ['60']);
    const stale = { host: hostname(), commandLine: 'holdfast start', obeysSignals: true };
    writeFileSync(
      join(dataDir, 'service-stale.json'),
      JSON.stringify({ ...stale, pid: stranger.pid, http: null, version: '0', replica: 'old' }),
    );

    const { code, stdout } = await holdfast(['quiet'], { DATA_DIR: dataDir });
    expect(code).toBe(0);
    expect(stdout).toMatch(/one \(process \d+\) takes no more jobs/);
    expect(stdout).toMatch(/two \(process \d+\) takes no more jobs/);
    expect(stdout).not.toContain('old');
    await Promise.all([first.until('workers.quiet'), second.until('workers.quiet')]);
    expect(await Promise.all([first.stop(), second.stop()])).toEqual([0, 0]);
    expect(notesIn(dataDir)).toEqual(['service-stale.json']);

    const third = start({ DATA_DIR: dataDir });
    await third.until('service.started');
    expect(notesIn(dataDir)).toEqual([expect.stringContaining(`${third.child.pid}`)]);
    stranger.kill('SIGKILL');
  });

  it('says so when nobody is there to be told', async () => {
    const { code, stderr } = await holdfast(['quiet'], { DATA_DIR: newFolder() });
    expect(code).toBe(69);
    expect(stderr).toContain('holdfast start');
  });
});

describe('holdfast isolate and release', () => {
  it('keep services from Redis and let them back; what is accepted meanwhile is kept', async () => {
    const dataDir = newFolder();
    const env = { DATA_DIR: dataDir, HTTP_TOKEN: 'a-token-of-sixteen' };
    const authorization = `Bearer ${env.HTTP_TOKEN}`;
    const both = ['one', 'two'].map((REPLICA) => start({ ...env, REPLICA, HTTP_PORT: '0' }));
    for (const service of both) {
      const { http } = await service.until('service.started');
      const readiness = async () =>
        await (await fetch(`${http}/readyz`, { headers: { authorization } })).json();
      await expect.poll(readiness).toMatchObject({ breaker: 'closed' });
    }

    const stranger = await holdfast(['isolate'], { DATA_DIR: dataDir });
    expect(stranger.code).toBe(77);
    const isolated = await holdfast(['isolate', '--reason', 'redis moves house'], env);
    expect(isolated).toMatchObject({ code: 0 });
    expect(isolated.stdout).toMatch(/one leaves Redis alone.*\n.*holdfast release/);
    expect(isolated.stdout).toMatch(/two leaves Redis alone/);
    for (const service of both) {
      expect(await service.until('breaker.isolated')).toMatchObject({
        reason: 'redis moves house',
      });
      expect(await service.until('outage.opened')).toMatchObject({ condition: 'isolated' });
    }
    const kept = await holdfast(['enqueue', 'sum', '{"a":1,"b":2}', '--json'], env);
    expect(JSON.parse(kept.stdout)).toMatchObject({ stored: 'journal' });

    const released = await holdfast(['release', '--json'], env);
    expect(JSON.parse(released.stdout).told).toMatchObject([
      { replica: expect.stringMatching(/one|two/), breaker: 'open' },
      { breaker: 'open' },
    ]);
    await Promise.all(both.map((service) => service.until('outage.closed')));
    await Promise.any(both.map((service) => service.until('job.completed')));
    expect(await Promise.all(both.map((service) => service.stop()))).toEqual([0, 0]);
  });

  it('say so when nobody is there to be told', async () => {
    const { code, stderr } = await holdfast(['isolate'], { DATA_DIR: newFolder() });
    expect(code).toBe(69);
    expect(stderr).toContain('holdfast start');
  });
});

describe('holdfast config', () => {
  it('shows where each value came from, and no secret', async () => {
    const cwd = newFolder();
    writeFileSync(join(cwd, '.env'), 'CONCURRENCY=7\nREDIS_URL=redis://u:hunter2@h:6379\n');
    writeFileSync(join(cwd, 'token'), 'hunter2\n');
    const env = { HTTP_TOKEN_FILE: join(cwd, 'token'), HTPP_PORT: '1', REDIS_PORT: 'tcp://h:1' };
    const { code, stdout } = await holdfast(['config', '--json'], env, cwd);
    expect(code).toBe(0);
    expect(stdout).not.toContain('hunter2');
    const { settings, warnings } = JSON.parse(stdout);
    expect(settings).toContainEqual({ name: 'CONCURRENCY', value: '7', source: '.env' });
    expect(settings).toContainEqual({ name: 'HTTP_TOKEN', value: '***', source: 'file' });
    expect(settings).toContainEqual({ name: 'LOG_LEVEL', value: 'info', source: 'default' });
    expect(warnings).toEqual([expect.stringContaining('HTTP_PORT')]);
  });

  it('ends with 78 and every mistake', async () => {
    const { code, stderr } = await holdfast(['config'], { LOG_LEVEL: 'loud', CONCURRENCY: '0' });
    expect(code).toBe(78);
    expect(stderr).toMatch(/LOG_LEVEL[\s\S]*CONCURRENCY|CONCURRENCY[\s\S]*LOG_LEVEL/);
  });
});

describe('the command line', () => {
  it('ends with 2 and the nearest name for a command that is none', async () => {
    const { code, stderr } = await holdfast(['strat'], {});
    expect(code).toBe(2);
    expect(stderr).toContain('start');
  });
});

describe('a short life', () => {
  it('does all that waits in a burst, and ends with 0', async () => {
    await addTo(server.url, { a: 1, b: 1 }, { a: 2, b: 2 }, { a: 3, b: 3 });
    const service = start({}, ['--burst', '--queues', 'sum']);
    expect(await service.exited).toEqual({ code: 0, signal: null });
    expect(service.of('job.completed')).toHaveLength(3);
  });

  it('brings a Redis along when none is named, and keeps its jobs over a restart', async () => {
    const dataDir = newFolder();
    const first = start({ REDIS_URL: '', DATA_DIR: dataDir });
    const { url } = await first.until('embedded.ready');
    await first.until('service.started');
    first.child.kill('SIGTSTP');
    await first.until('workers.quiet');
    await addTo(String(url), { a: 20, b: 3 });
    expect(await first.stop()).toBe(0);
    const second = start({ REDIS_URL: '', DATA_DIR: dataDir });
    await second.until('job.completed');
    expect(await second.stop()).toBe(0);
  });

  it('starts anew with --watch when a handler changes, and survives a broken one', async () => {
    const folder = newFolder();
    const write = (text: string) => writeFileSync(join(folder, 'late.mjs'), text);
    writeFileSync(join(folder, 'sum.mjs'), `export default { queue: 'sum', handler() {} };`);
    const service = start({ WORKERS_DIR: folder }, ['--watch']);
    await service.until('service.started');
    write('export default {');
    await expect.poll(() => service.stderr, { timeout: 10_000 }).toContain('late.mjs:1');
    write(`export default { queue: 'late', handler() {} };`);
    expect(await service.until('service.started', 2)).toMatchObject({ queues: ['late', 'sum'] });
    expect(await service.stop()).toBe(0);
    expect(service.of('service.stopped')).toHaveLength(2);
  });

  it('leaves no service behind when the process that watches it is killed', async () => {
    const folder = newFolder();
    writeFileSync(join(folder, 'sum.mjs'), `export default { queue: 'sum', handler() {} };`);
    const watcher = start({ WORKERS_DIR: folder }, ['--watch']);
    await watcher.until('service.started');
    watcher.child.kill('SIGKILL');
    // The child has the same stdout: it closes when the last of the two has ended.
    await watcher.exited;
    expect(watcher.of('service.stopped')).toHaveLength(1);
  });

  it('stops gracefully with 70 after an exception in a timer', async () => {
    const service = start();
    await service.until('service.started');
    await addTo(server.url, { a: 1, b: 1, throws: 'later' });
    expect((await service.exited).code).toBe(70);
    expect(service.of('service.unhandled')).toHaveLength(1);
    expect(service.of('service.stopped')).toHaveLength(1);
  });

  it('leaves nothing behind when it is told to stop while it starts', async () => {
    const { service, lines } = embedded({ REDIS_URL: '' });
    const started = service.start();
    await expect.poll(() => lines.some(({ event }) => event === 'embedded.ready')).toBe(true);
    await service.stop();
    await expect(started).rejects.toThrow(ServiceStoppedError);
    expect(notesIn(service.config.dataDir)).toEqual([]);
    expect(readdirSync(service.config.dataDir)).not.toContain('redis.json');
  });

  it('tells of no outage when it is stopped right after its start', async () => {
    const { service, lines } = embedded({ REDIS_URL: server.url });
    await service.start();
    await service.stop();
    expect(lines.map(({ event }) => event)).toEqual([
      'service.started',
      'service.stopping',
      'service.stopped',
    ]);
    await expect(service.drained()).resolves.toBeUndefined();
  });

  it('starts no more after it was stopped', async () => {
    const { service } = embedded({ REDIS_URL: server.url });
    await service.stop();
    await expect(service.start()).rejects.toThrow(ServiceStoppedError);
  });
});

/** The service inside this process, as an app embeds it. */
function embedded(settings: NonNullable<ServiceOptions['settings']>) {
  const lines: LogLine[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const service = createService({
    settings: { DATA_DIR: newFolder(), HTTP_PORT: '0', CONFIG_DIR: newFolder(), ...settings },
    workers: [{ queue: 'sum', handler: () => 1 }],
    log,
  });
  return { service, lines };
}

describe('the lines of a service', () => {
  it('are what docs/logs.schema.json says, and hide passwords', async () => {
    const schema = z.fromJSONSchema(JSON.parse(readFileSync(SCHEMA, 'utf8')));
    const service = start({ LOG_LEVEL: 'debug', HTPP_PORT: '1' });
    await service.until('service.started');
    await addTo(server.url, { a: 1, b: 2 }, { a: 1, b: 2, throws: 'once' });
    await service.until('job.completed');
    await service.until('job.failed');
    await server.kill();
    await service.until('outage.opened');
    await server.start();
    await service.until('outage.closed');
    expect(await service.stop()).toBe(0);
    expect(service.noise).toEqual([]);
    expect(JSON.stringify(service.lines)).not.toContain('hunter2');
    for (const line of service.lines) {
      const checked = schema.safeParse(line);
      expect(checked.success, `${JSON.stringify(line)}\n${checked.error}`).toBe(true);
    }
    const said = new Set(service.lines.map(({ event }) => event));
    for (const event of ['config.warning', 'http.listening', 'service.stopped']) {
      expect(said).toContain(event);
    }
    expect(schema.safeParse({ ...service.lines[0], password: 'x' }).success).toBe(false);
  });
});
