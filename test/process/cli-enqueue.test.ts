import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config.ts';
import { RedisUnavailableError } from '../../src/errors.ts';
import { runCommand, startCommand } from '../support/command.ts';
import { testConfig } from '../support/config.ts';
import { type HttpService, startHttpService } from '../support/http-service.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';

let redis: RedisServer;
let service: HttpService;
let folder: string;
/** The command reaches the service. */
let near: Partial<Config>;
/** No service anywhere: the command goes to Redis. */
let alone: Partial<Config>;

beforeAll(async () => {
  redis = await startRedis();
  service = await startHttpService(redis.url, { queues: ['faq', 'webhook', 'fails', 'slow'] });
  folder = mkdtempSync(join(tmpdir(), 'holdfast-test-cli-'));
  const http = testConfig().http;
  near = { dataDir: folder, http: { ...http, port: Number(new URL(service.url).port) } };
  alone = {
    dataDir: folder,
    http: { ...http, port: await freePort() },
    redis: { ...testConfig().redis, url: redis.url },
  };
});

afterAll(async () => {
  await service[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function work(queue: string, handler: (data: unknown) => unknown): AsyncDisposable {
  const worker = new Worker(queue, async (job) => handler(job.data), {
    connection: { url: redis.url },
  });
  return { [Symbol.asyncDispose]: () => worker.close() };
}

const dataOf = async (queue: string, id: string) =>
  JSON.parse(`${await redis.command('HGET', `bull:${queue}:${id.trim()}`, 'data')}`);

describe('holdfast enqueue', () => {
  it('adds a job through the service and prints its id and nothing else to stdout', async () => {
    const { code, stdout, stderr } = await runCommand(['enqueue', 'faq', '{"question":"?"}'], near);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain(`the service at ${service.url}`);
    expect(await dataOf('faq', stdout)).toEqual({ question: '?' });
  });

  it('goes straight to Redis when no service runs', async () => {
    const args = ['enqueue', 'faq', '{"a":1}', '--job-id', 'alone-1', '--json', '--priority', '2'];
    const { code, stdout, stderr } = await runCommand(args, alone);
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ id: 'alone-1', queue: 'faq', stored: 'redis' });
    expect(await service.client.job('faq', 'alone-1')).toMatchObject({ state: 'prioritized' });
  });

  it('finds a service by the note in the data folder', async () => {
    const dataDir = mkdtempSync(join(folder, 'noted-'));
    const note = { pid: process.pid, http: service.url, version: '0.0.0' };
    writeFileSync(join(dataDir, 'service-a.json'), JSON.stringify(note));
    writeFileSync(
      join(dataDir, 'service-dead.json'),
      JSON.stringify({ ...note, pid: 2 ** 22 + 1 }),
    );
    writeFileSync(join(dataDir, 'service-torn.json'), '{"pid":');
    const { stderr } = await runCommand(['enqueue', 'faq', '1'], { ...alone, dataDir });
    expect(stderr).toContain(`the service at ${service.url}`);
  });

  it('exits 69 and says what it tried and what to do when nothing is there', async () => {
    const { code, stdout, stderr } = await runCommand(['enqueue', 'faq', '1'], {
      ...alone,
      redis: testConfig().redis,
    });
    expect(code).toBe(69);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/ECONNREFUSED[\s\S]*REDIS_URL: not set[\s\S]*holdfast start/);
    const dead = { ...testConfig().redis, url: `redis://127.0.0.1:${await freePort()}` };
    const refused = await runCommand(['enqueue', 'faq', '1'], { ...alone, redis: dead });
    expect(refused.code).toBe(69);
    expect(refused.stderr).toMatch(/Redis at redis:.*ECONNREFUSED/);
  });

  it('says that the outcome is not known, and how to ask again, when the answer was lost', async () => {
    // Takes requests and never answers one; its probe is green.
    const posts: string[] = [];
    const mute = createServer((request, response) => {
      if (request.url === '/readyz') {
        response.end(JSON.stringify({ service: 'holdfast', status: 'ok' }));
        return;
      }
      request.on('data', (chunk) => posts.push(`${chunk}`));
      request.on('end', () => response.destroy());
    });
    mute.listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as AddressInfo;
    const args = ['enqueue', 'faq', '1', '--url', `http://127.0.0.1:${port}/`];
    const { code, stdout, stderr } = await runCommand(args, alone);
    mute.close();
    expect(code).toBe(69);
    expect(stdout).toBe('');
    const [, id] = /again with --job-id (\S+):/.exec(stderr)!;
    expect(posts.length).toBeGreaterThan(1);
    // Every try carries the same id: whichever acted, the job is there once.
    for (const post of posts) expect(JSON.parse(post).jobs[0].options.jobId).toBe(id);
  });

  it.each([
    ['no arguments', [], '', /missing required argument/],
    ['an unknown option', ['faq', '1', '--wiat'], '', /Did you mean --wait/],
    ['a bad time', ['faq', '1', '--delay', 'soon'], '', /30s, 5m/],
    ['broken JSON', ['faq', '{"a":'], '', /the argument is not JSON/],
    ['a queue that BullMQ cannot use', ['a:b', '1'], '', /contains ":"/],
    [
      'a job id that BullMQ would take for its own',
      ['faq', '1', '--job-id', '5'],
      '',
      /whole number/,
    ],
    ['a file that is not there', ['faq', '@/none/such'], '', /does not exist/],
    ['a folder', ['faq', '@/tmp'], '', /cannot be read/],
    ['an empty stdin', ['faq', '-'], ' \n \n', /is empty/],
    ['binary garbage on stdin', ['faq', '-'], Buffer.from([0xff, 0xfe, 0x00, 0x9c]), /not UTF-8/],
    ['text on stdin', ['faq', '-'], 'hello\nworld', /stdin line 1 is not JSON/],
    ['10 MB', ['faq', '-'], JSON.stringify('x'.repeat(10_000_000)), /MAX_JOB_BYTES/],
    ['deep JSON', ['faq', '-'], '['.repeat(9999) + ']'.repeat(9999), /nested deeper/],
    ['a queue that nobody handles', ['fap', '1'], '', /Did you mean "faq"/],
    ['--timeout without --wait', ['faq', '1', '--timeout', '5s'], '', /--timeout needs --wait/],
    ['--output without --wait', ['faq', '1', '--output', 'x'], '', /needs --wait/],
    [
      '--output in a folder that is not there, before anything is added',
      ['faq', '1', '--wait', '--output', '/nope/x.md'],
      '',
      /\/nope\/x\.md cannot be written \(ENOENT\)/,
    ],
    [
      '--output that is a folder, before anything is added',
      ['faq', '1', '--wait', '--output', '/tmp'],
      '',
      /\/tmp is a folder/,
    ],
  ])('exits 2 and says why for %s', async (_, args, stdin, message) => {
    const { code, stdout, stderr } = await runCommand(['enqueue', ...args], near, stdin);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(code).toBe(2);
    expect(stdout).toBe('');
  });
});

describe('holdfast enqueue of many', () => {
  it('adds one job a line, whatever the size of chunks and the last newline', async () => {
    const before = (await service.client.counts('webhook')).waiting ?? 0;
    const lines = Array.from({ length: 2500 }, (_, i) =>
      JSON.stringify({ i, text: 'ü'.repeat(50) }),
    );
    const { code, stdout, stderr } = await runCommand(
      ['enqueue', 'webhook', '-'],
      near,
      lines.join('\n'),
    );
    expect(code, stderr).toBe(0);
    const ids = stdout.trim().split('\n');
    expect(new Set(ids).size).toBe(2500);
    expect(await dataOf('webhook', ids[2499]!)).toMatchObject({ i: 2499 });
    expect((await service.client.counts('webhook')).waiting).toBe(before + 2500);
    expect(stderr).toMatch(/2500 jobs are kept/);
  });

  it('adds all of them also when nobody reads the ids to the end', async () => {
    const before = (await service.client.counts('webhook')).waiting ?? 0;
    const lines = Array.from({ length: 5000 }, (_, i) => `{"i":${i}}`).join('\n');
    const command = startCommand(['enqueue', 'webhook', '-'], near, lines);
    command.closeStdout();
    const { code, stderr } = await command.result;
    expect(code, stderr).toBe(0);
    expect((await service.client.counts('webhook')).waiting).toBe(before + 5000);
  });

  it('adds all of them also when nobody reads either stream', async () => {
    const before = (await service.client.counts('webhook')).waiting ?? 0;
    const lines = Array.from({ length: 2000 }, (_, i) => `{"i":${i}}`).join('\n');
    const command = startCommand(['enqueue', 'webhook', '-'], near, lines);
    command.closeStdout();
    command.closeStderr();
    expect((await command.result).code).toBe(0);
    expect((await service.client.counts('webhook')).waiting).toBe(before + 2000);
  });

  it('sends what is there when the writer pauses', async () => {
    const command = startCommand(['enqueue', 'webhook', '-'], near, null);
    command.write('{"a":1}\n{"a":2}\n');
    await command.printed(2);
    command.write('{"a":3}\n');
    await command.printed(3);
    command.signal('SIGINT');
    const { code, stdout, stderr } = await command.result;
    expect(code).toBe(130);
    expect(stdout.trim().split('\n')).toHaveLength(3);
    expect(stderr).toMatch(/3 jobs are kept, up to line 3 of stdin; nothing else/);
  });

  it('keeps the first line when the second is not UTF-8, and says where to go on', async () => {
    const stdin = Buffer.concat([Buffer.from('{"a":1}\n'), Buffer.from([0xff, 0x0a])]);
    const { code, stdout, stderr } = await runCommand(['enqueue', 'webhook', '-'], near, stdin);
    expect(code).toBe(2);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(/1 job is kept, up to line 1 of stdin[\s\S]*stdin line 2 is not UTF-8/);
  });

  it.runIf(existsSync('/dev/full'))(
    'tells that its ids are lost on a full disk, and does not go on adding',
    async () => {
      const before = (await service.client.counts('webhook')).waiting ?? 0;
      const lines = Array.from({ length: 20_000 }, (_, i) => `{"i":${i}}`).join('\n');
      const command = startCommand(['enqueue', 'webhook', '-'], near, lines, '/dev/full');
      const { code, stderr } = await command.result;
      expect(code).toBe(2);
      expect(stderr).toMatch(
        /^1000 jobs are kept, up to line 1000 of stdin; .*tail -n \+1001\nerror stdout cannot be written \(ENOSPC\).*\n$/,
      );
      expect((await service.client.counts('webhook')).waiting).toBe(before + 1000);
      const one = await startCommand(['enqueue', 'webhook', '1'], near, '', '/dev/full').result;
      expect(one.code).toBe(2);
      expect(one.stderr).toMatch(
        /^Job \S+ is kept in .*\nerror stdout cannot be written \(ENOSPC\).*\n$/,
      );
    },
  );

  it('tells line by line what Redis refuses, and nothing is left open', async () => {
    await using small = await startRedis();
    const config = { ...alone, redis: { ...testConfig().redis, url: small.url } };
    await small.command('CONFIG', 'SET', 'maxmemory', 1);
    const { code, stdout, stderr } = await runCommand(
      ['enqueue', 'webhook', '-'],
      config,
      '1\n2\n',
    );
    expect({ code, stdout }).toEqual({ code: 69, stdout: '' });
    expect(stderr).toMatch(/^0 jobs are kept, up to line 0 of stdin; nothing else\./);
    expect(stderr).toMatch(/away \(out-of-memory\)/);
    const one = await runCommand(['enqueue', 'webhook', '1'], config);
    expect(one.code).toBe(69);
    expect(one.stderr).toMatch(/away \(out-of-memory\).* The job was not added\. Free memory/);
  });

  it('tells at Ctrl-C how far it came, so that the rest can be added without a second time', async () => {
    const lines = Array.from({ length: 20_000 }, (_, i) => JSON.stringify({ i })).join('\n');
    const command = startCommand(['enqueue', 'webhook', '-'], near, lines);
    await command.printed();
    command.signal('SIGINT');
    const { code, stdout, stderr } = await command.result;
    expect(code, stderr).toBe(130);
    const ids = stdout.trim().split('\n');
    expect(ids.length).toBeLessThan(20_000);
    expect(stderr).toContain(
      `${ids.length} jobs are kept, up to line ${ids.length} of stdin; nothing`,
    );
    expect(stderr).toContain(`tail -n +${ids.length + 1}`);
    expect(await dataOf('webhook', ids.at(-1)!)).toEqual({ i: ids.length - 1 });
  });

  it('keeps what stands before a bad line and says where to go on', async () => {
    const before = (await service.client.counts('webhook')).waiting ?? 0;
    const path = join(folder, 'bad.ndjson');
    writeFileSync(path, '{"a":1}\n\n{"a":2}\nnot json\n{"a":3}\n');
    const { code, stderr } = await runCommand(['enqueue', 'webhook', `@${path}`], near);
    expect(code).toBe(2);
    expect(stderr).toMatch(/2 jobs are kept, up to line 3[\s\S]*line 4 is not JSON/);
    expect((await service.client.counts('webhook')).waiting).toBe(before + 2);
  });

  it('takes a document over several lines for one job', async () => {
    const { stdout } = await runCommand(['enqueue', 'faq', '-'], near, '{\n  "a": [\n 1\n]\n}\n');
    expect(await dataOf('faq', stdout)).toEqual({ a: [1] });
  });
});

describe('holdfast enqueue --wait', () => {
  it('prints progress to stderr and the result to stdout', async () => {
    await using _worker = work('webhook-wait', () => ({ status: 204 }));
    const args = ['enqueue', 'webhook-wait', '{}', '--wait', '--unknown'];
    const { code, stdout, stderr } = await runCommand(args, near);
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ status: 204 });
  });

  it('prints the document of a faq, or writes it whole to a file', async () => {
    await using _worker = work('faq', () => ({ markdown: '# Answer' }));
    const shown = await runCommand(['enqueue', 'faq', '{}', '--wait'], near);
    expect(shown.stdout).toBe('# Answer\n');
    const path = join(folder, 'answer.md');
    const written = await runCommand(['enqueue', 'faq', '{}', '--wait', '--output', path], alone);
    expect(written.code, written.stderr).toBe(0);
    expect(readFileSync(path, 'utf8')).toBe('# Answer\n');
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
    const nowhere = join(folder, 'none', 'answer.md');
    const refused = await runCommand(['enqueue', 'faq', '{}', '--wait', '--output', nowhere], near);
    expect(refused.code).toBe(2);
    expect(existsSync(nowhere)).toBe(false);
  });

  it('exits 1 with the reason when the job failed', async () => {
    await using _worker = work('fails', () => {
      throw new Error('no such recipient');
    });
    const { code, stdout, stderr } = await runCommand(['enqueue', 'fails', '{}', '--wait'], near);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/failed after 1 attempt: no such recipient/);
  });

  it('exits 124 when the time is over, and the job goes on', async () => {
    const args = ['enqueue', 'slow', '{}', '--wait', '--timeout', '300ms', '--job-id', 'slow-1'];
    const { code, stderr } = await runCommand(args, near);
    expect(code).toBe(124);
    expect(stderr).toMatch(/It goes on/);
    expect(await service.client.job('slow', 'slow-1')).toMatchObject({ state: 'waiting' });
  });

  it('waits through an outage and delivers afterwards', async () => {
    const command = startCommand(['enqueue', 'slow', '{"n":2}', '--wait'], near);
    await command.said(/waiting/);
    service.client.failure = new RedisUnavailableError('reading', 'frozen', 'o-1');
    await command.said(/Redis is away \(frozen\); the job is kept/);
    service.client.failure = undefined;
    await command.said(/Back again/);
    await using _worker = work('slow', () => 'done');
    const { code, stdout } = await command.result;
    expect(code).toBe(0);
    expect(stdout).toBe('"done"\n');
  });

  it('waits through a restart of the service', async () => {
    const port = await freePort();
    const options = { queues: ['slow'], config: { http: { ...testConfig().http, port } } };
    const first = await startHttpService(redis.url, options);
    const command = startCommand(['enqueue', 'slow', '{}', '--wait'], {
      ...near,
      ...options.config,
    });
    await command.said(/waiting/);
    await first[Symbol.asyncDispose]();
    await command.said(/The service does not answer; the job is kept/);
    await using _second = await startHttpService(redis.url, options);
    await command.said(/Back again/);
    await using _worker = work('slow', () => 7);
    expect(await command.result).toMatchObject({ code: 0, stdout: '7\n' });
  });

  it('goes on with a service that came back on another port, or with Redis itself', async () => {
    const dataDir = mkdtempSync(join(folder, 'moved-'));
    const noted = (url: string) => {
      const note = { pid: process.pid, http: url, version: '0.0.0' };
      writeFileSync(join(dataDir, 'service-a.json'), JSON.stringify(note));
    };
    const config = { ...alone, dataDir };
    const first = await startHttpService(redis.url, { queues: ['slow'] });
    noted(first.url);
    const command = startCommand(['enqueue', 'slow', '{"n":3}', '--wait'], config);
    await command.said(/waiting/);
    await first[Symbol.asyncDispose]();
    await using second = await startHttpService(redis.url, { queues: ['slow'] });
    noted(second.url);
    await using _worker = work('slow', () => 'moved');
    expect(await command.result).toMatchObject({ code: 0, stdout: '"moved"\n' });

    const third = await startHttpService(redis.url, { queues: ['slow-2'] });
    noted(third.url);
    const left = startCommand(['enqueue', 'slow-2', '{}', '--wait'], config);
    await left.said(/waiting/);
    await third[Symbol.asyncDispose]();
    await using _other = work('slow-2', () => 'alone');
    expect(await left.result).toMatchObject({ code: 0, stdout: '"alone"\n' });
  });

  it('waits through a Redis that dies, without a service', async () => {
    await using mortal = await startRedis({ aof: 'always' });
    const config = { ...alone, redis: { ...testConfig().redis, url: mortal.url } };
    const command = startCommand(['enqueue', 'email', '{}', '--wait'], config);
    await command.said(/waiting/);
    await mortal.kill();
    await command.said(/Redis is away/);
    await mortal.restart();
    await command.said(/Back again/);
    const worker = new Worker('email', async () => 'sent', { connection: { url: mortal.url } });
    const { code, stdout } = await command.result;
    await worker.close();
    expect(code).toBe(0);
    expect(stdout).toBe('"sent"\n');
  });
});

describe('holdfast status', () => {
  it('shows the service, its breaker and the queues, without colours into a pipe', async () => {
    const { code, stdout } = await runCommand(['status'], near);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ok {2}http:\/\/127/);
    expect(stdout).toMatch(/breaker closed/);
    expect(stdout).toMatch(/^queue +waiting +(prioritized +)?active/m);
    expect(stdout).not.toContain('\u001b');
  });

  it('says what is wrong in an outage, and that counts are unknown', async () => {
    service.seen.state = { breaker: 'open', condition: 'read-only', outageId: 'o', since: 0 };
    service.client.failure = new RedisUnavailableError('counting', 'read-only', 'o');
    const { code, stdout } = await runCommand(['status', '--json'], near);
    const plain = await runCommand(['status'], near);
    service.client.failure = undefined;
    service.seen.state = { breaker: 'closed', condition: undefined, outageId: undefined, since: 0 };
    expect(code).toBe(0);
    const { services, queues } = JSON.parse(stdout);
    expect(services).toMatchObject([{ status: 'unavailable', condition: 'read-only' }]);
    expect(queues[0].counts).toBeNull();
    expect(plain.stdout).toMatch(/unavailable[\s\S]*read-only[\s\S]*–/);
  });

  it('asks Redis when no service runs, and exits 69 when there is neither', async () => {
    const { code, stdout } = await runCommand(['status'], alone);
    expect(code).toBe(0);
    expect(stdout).toMatch(/No service runs here[\s\S]*webhook/);
    const none = await runCommand(['status', '--json'], { ...alone, redis: testConfig().redis });
    expect(none.code).toBe(69);
    expect(JSON.parse(none.stdout).tried).toHaveLength(2);
  });
});
