/** `holdfast doctor` on the way to Redis: from the first layer that fails, with a remedy that fits. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { diagnose } from '../../src/diagnose/doctor.ts';
import { CHECKS } from '../../src/diagnose/finding.ts';
import { loadConfig } from '../../src/load-config.ts';
import { systemClock } from '../../src/time.ts';
import { examine, problems, skipped, theProblem } from '../support/doctor.ts';
import { startProxy } from '../support/proxy.ts';
import { freePort, startRedis } from '../support/redis-server.ts';
import { startTarget } from '../support/target.ts';

const BIN = fileURLToPath(new URL('../../src/bin.mjs', import.meta.url));

/** What a service of the same address calls it. */
async function wordOfService(url: string): Promise<string | undefined> {
  const target = await startTarget(url);
  onTestFinished(() => target.stop(systemClock.now() + 500));
  await expect.poll(() => target.state().condition).not.toBe('connecting');
  return target.state().condition;
}

describe('the way to Redis', () => {
  it('finds nothing wrong with a Redis that is as it should be', async () => {
    await using server = await startRedis({ aof: true });
    const report = await examine(server.url);
    expect(problems(report)).toEqual([]);
    expect([...new Set(report.findings.map(({ check }) => check))]).toEqual([...CHECKS]);
  });

  it('no server, or the wrong port: refused, and what comes after is skipped for it', async () => {
    const port = await freePort();
    const report = await examine(`redis://127.0.0.1:${port}`);
    expect(theProblem(report)).toMatchObject({
      check: 'tcp',
      status: 'fail',
      condition: 'refused',
      title: `127.0.0.1:${port} refuses connections`,
      remedy: expect.stringContaining('redis-server runs'),
    });
    expect(report.exitCode).toBe(2);
    for (const check of ['tls', 'auth', 'acl', 'server', 'resources', 'bullmq', 'clock']) {
      expect(skipped(report, check)).toEqual(['Not looked at: TCP failed']);
    }
    expect(report.findings.find(({ check }) => check === 'journal')?.status).toBe('pass');
  });

  it('a unix socket that is not there', async () => {
    expect(theProblem(await examine('unix:///nowhere/redis.sock'))).toMatchObject({
      title: 'Nothing listens at /nowhere/redis.sock',
      condition: 'refused',
    });
  });

  it('a name that does not exist', async () => {
    expect(theProblem(await examine('redis://redis.invalid:6379'))).toMatchObject({
      check: 'dns',
      status: 'fail',
      condition: 'dns',
      title: 'The name redis.invalid does not resolve',
    });
  });

  it('a port that speaks HTTP', async () => {
    const web = createServer((_request, response) => response.end('hello'));
    web.listen(0, '127.0.0.1');
    await once(web, 'listening');
    onTestFinished(() => void web.close());
    const { port } = web.address() as { port: number };
    for (const scheme of ['redis', 'rediss']) {
      expect(theProblem(await examine(`${scheme}://127.0.0.1:${port}`))).toMatchObject({
        status: 'fail',
        title: `127.0.0.1:${port} speaks HTTP, not Redis`,
        condition: await wordOfService(`${scheme}://127.0.0.1:${port}`),
        remedy: expect.stringMatching(/^Correct .*port/),
      });
    }
  });

  it('a port that speaks something else', async () => {
    const other = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.write('SSH-2.0-OpenSSH_9.2\r\n');
    });
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    const { port } = other.address() as { port: number };
    expect(theProblem(await examine(`redis://127.0.0.1:${port}`))).toMatchObject({
      check: 'protocol',
      title: `127.0.0.1:${port} does not speak the protocol of Redis`,
      condition: await wordOfService(`redis://127.0.0.1:${port}`),
      evidence: 'it says: SSH-2.0-OpenSSH_9.2',
    });
  });

  it('a server that accepts and answers nothing', async () => {
    await using server = await startRedis();
    server.freeze();
    const report = await examine(server.url);
    const secure = await examine(server.url.replace('redis:', 'rediss:'));
    server.thaw();
    expect(theProblem(report)).toMatchObject({ check: 'protocol', condition: 'frozen' });
    // Silence is no mistake in the certificate.
    expect(theProblem(secure)).toMatchObject({ check: 'tls', condition: 'frozen' });
  });

  it('a server that freezes in the middle of the run ends it in bounded time', async () => {
    await using server = await startRedis();
    const report = await examine(server.url, {
      onStart: ({ name }) => {
        if (name === 'latency') server.freeze();
      },
    });
    server.thaw();
    expect(problems(report)).toMatchObject([{ check: 'latency', condition: 'frozen' }]);
    expect(skipped(report, 'server')).toEqual([
      'Not looked at: Redis stopped answering (Round trip)',
    ]);
  });

  it('300 ms on the way', async () => {
    await using server = await startRedis({ aof: true });
    const proxy = await startProxy(server.port);
    proxy.latency(300);
    const slow = theProblem(await examine(proxy.url));
    expect(slow).toMatchObject({ check: 'latency', status: 'warn' });
    expect(slow.title).toMatch(/^The way to Redis is slow: \d{3} ms for each round trip$/);
    expect(slow.evidence).toMatch(/median \d{3} ms, longest .* jitter/);
  });

  it('a clock that is five minutes off', async () => {
    await using server = await startRedis({ aof: true });
    const clock = { ...systemClock, wall: () => systemClock.wall() + 300_000 };
    expect(theProblem(await examine(server.url, { clock }))).toMatchObject({
      check: 'clock',
      status: 'fail',
      title: 'The clock of this host is 5 min ahead of that of Redis',
      remedy: expect.stringContaining('NTP'),
    });
  });
});

describe('the settings', () => {
  it('a misspelt variable, with the nearest name', async () => {
    await using server = await startRedis({ aof: true });
    const env = { REDIS_URL: server.url, REDIS_PASWORD: 'hunter22', DATA_DIR: server.dir };
    const report = await diagnose(() => loadConfig({ env, cwd: server.dir }), {
      version: '0',
      env,
    });
    expect(theProblem(report)).toMatchObject({
      check: 'environment',
      status: 'warn',
      title: 'REDIS_PASWORD is not a setting of Holdfast and has no effect',
      evidence: 'the nearest name is REDIS_PASSWORD',
    });
    expect(report.exitCode).toBe(1);
  });

  it('a configuration that is no good: every mistake, and nothing of a password', async () => {
    const env = {
      REDIS_URL: 'http://app:hunter22@rest.example',
      HTTP_PORT: 'abc',
      HTTP_TOKEN: 'sesame99',
    };
    const report = await diagnose(() => loadConfig({ env, cwd: '/' }), { version: '0', env });
    expect(problems(report).map(({ title }) => title)).toEqual([
      'HTTP_PORT cannot be used',
      'REDIS_URL cannot be used',
    ]);
    expect(JSON.stringify(report)).not.toMatch(/hunter22|sesame99/);
  });

  it('no Redis at all', async () => {
    const report = await examine(undefined);
    expect(theProblem(report)).toMatchObject({ check: 'environment', status: 'warn' });
    expect(skipped(report, 'tcp')).toEqual(['Not looked at: no Redis is configured']);
  });
});

describe('the command', () => {
  async function run(args: string[], env: Record<string, string>, cwd: string) {
    const child = spawn(process.execPath, [BIN, 'doctor', ...args], {
      cwd,
      env: { PATH: process.env.PATH, ...env },
    });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        out += text;
      });
    }
    const [code] = await once(child, 'close');
    return { code, out };
  }

  it('prints one JSON document, a report for people, and exits with the verdict', async () => {
    await using server = await startRedis({ aof: true, args: ['--requirepass', 'hunter22'] });
    const url = `redis://:hunter22@127.0.0.1:${server.port}`;
    const json = await run(['--json'], { REDIS_URL: url }, server.dir);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({ status: 'warn', exitCode: 1 });
    const text = await run([], { REDIS_URL: url }, server.dir);
    expect(text.out).toMatch(/^Login +✓ pass +Connected as user default$/m);
    expect(text.out).toContain('1 warning · none failed');

    const wrong = await run([], { REDIS_URL: url.replace('22', '33') }, server.dir);
    expect(wrong.code).toBe(2);
    expect(wrong.out).toMatch(/^Login +✗ FAIL +User name or password is wrong/m);
    expect(wrong.out).toMatch(/^Rights +– skip +Not looked at: Login failed\n +also: Round trip/m);
    expect(json.out + text.out + wrong.out).not.toMatch(/hunter/);
    expect(json.out + text.out).not.toContain('\u001b');
  });

  it('takes no arguments that it does not know', async () => {
    expect((await run(['--fast'], {}, '/tmp')).code).toBe(2);
  });
});
