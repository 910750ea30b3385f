import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Worker } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JournalFullError, RedisUnavailableError } from '../../src/errors.ts';
import { testConfig } from '../support/config.ts';
import { type HttpService, rawRequest, startHttpService } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let redis: RedisServer;
let service: HttpService;
let folder: string;
let outputDir: string;

beforeAll(async () => {
  redis = await startRedis();
  folder = mkdtempSync(join(tmpdir(), 'holdfast-test-http-'));
  outputDir = join(folder, 'output');
  mkdirSync(outputDir);
  service = await startHttpService(redis.url, {
    config: { faq: { ...testConfig().faq, outputDir }, jobBytesMax: 100_000 },
  });
});

afterAll(async () => {
  await service[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const jobs = (queue = 'faq') => `${service.url}/v1/queues/${queue}/jobs`;

// The tests say what they expect of an answer; its type is theirs to prove.
// biome-ignore lint/suspicious/noExplicitAny: see above
const json = async (response: Response): Promise<any> => response.json();

async function post(url: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: await json(response) };
}

describe('adding a job', () => {
  it('answers 202 with the id, and a plain BullMQ worker gets it with its name and options', async () => {
    const { status, body, headers } = await post(jobs(), {
      name: 'ask',
      data: { question: 'why?' },
      options: { priority: 3 },
    });
    expect(status).toBe(202);
    expect(body).toEqual({ id: expect.any(String), stored: 'redis' });
    expect(headers.get('location')).toBe(`/v1/queues/faq/jobs/${body.id}`);
    const view = await json(await fetch(`${service.url}${headers.get('location')}`));
    expect(view).toMatchObject({ id: body.id, queue: 'faq', name: 'ask', state: 'prioritized' });
    expect(JSON.parse(`${await redis.command('HGET', `bull:faq:${body.id}`, 'data')}`)).toEqual({
      question: 'why?',
    });
  });

  it('adds a batch, in order, or nothing of it', async () => {
    const batch = { jobs: [{ data: 1 }, { data: 2, name: 'two' }] };
    const { status, body } = await post(jobs(), batch);
    expect(status).toBe(202);
    expect(body.jobs).toHaveLength(2);
    const second = await json(await fetch(`${jobs()}/${body.jobs[1].id}`));
    expect(second.name).toBe('two');
    const before = await service.client.counts('faq');
    const bad = await post(jobs(), { jobs: [{ data: 1 }, { data: 2, options: { delay: -1 } }] });
    expect(bad.status).toBe(400);
    expect(bad.body.field).toBe('jobs[1].options.delay');
    expect(await service.client.counts('faq')).toEqual(before);
  });

  it('adds once however often it is sent with the same Idempotency-Key', async () => {
    const headers = { 'idempotency-key': '"7d3c-1"' };
    const first = await post(jobs(), { data: 1 }, headers);
    const before = await service.client.counts('faq');
    const again = await post(jobs(), { data: 1 }, headers);
    expect(again.body.id).toBe(first.body.id);
    expect(await service.client.counts('faq')).toEqual(before);
    const other = { 'idempotency-key': '"7d3c-2"' };
    const batch = await post(jobs(), { jobs: [{ data: 1 }, { data: 2 }] }, other);
    const batchAgain = await post(jobs(), { jobs: [{ data: 1 }, { data: 2 }] }, other);
    expect(batchAgain.body).toEqual(batch.body);
    expect(new Set(batch.body.jobs.map((job: { id: string }) => job.id)).size).toBe(2);
  });

  it('adds once for all replicas, also when the job is gone again before the second request', async () => {
    await using replica = await startHttpService(redis.url);
    const headers = { 'idempotency-key': 'across' };
    const first = await post(jobs(), { data: 1 }, headers);
    const before = await service.client.counts('faq');
    const there = await post(`${replica.url}/v1/queues/faq/jobs`, { data: 1 }, headers);
    expect(there.body).toEqual(first.body);
    expect(await service.client.counts('faq')).toEqual(before);
    // As BullMQ does with removeOnComplete: the replica that answered remembers.
    const job = await service.client.queue('faq').getJob(first.body.id);
    await job!.remove();
    expect((await post(jobs(), { data: 1 }, headers)).body).toEqual(first.body);
    expect(await service.client.job('faq', first.body.id)).toBeUndefined();
  });

  it('gives the same answer to requests that come at once with one key', async () => {
    const headers = { 'idempotency-key': 'at-once' };
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => post(jobs(), { data: 1 }, headers)),
    );
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
  });

  it('refuses a key that comes with another body, and forgets one whose request failed', async () => {
    const headers = { 'idempotency-key': 'reused' };
    service.client.failure = new RedisUnavailableError('adding a job', 'refused', 'o-1');
    expect((await post(jobs(), { data: 1 }, headers)).status).toBe(503);
    service.client.failure = undefined;
    expect((await post(jobs(), { data: 2 }, headers)).status).toBe(202);
    const reused = await post(jobs(), { data: 3 }, headers);
    expect(reused.status).toBe(422);
    expect(reused.body.code).toBe('HOLDFAST_IDEMPOTENCY_KEY_REUSED');
  });

  it('refuses a queue that no handler has, names the nearest, and lets it pass when meant', async () => {
    const { status, body, headers } = await post(jobs('fap'), { data: 1 });
    expect(status).toBe(404);
    expect(headers.get('content-type')).toMatch(/application\/problem\+json/);
    expect(body).toMatchObject({
      code: 'HOLDFAST_QUEUE_UNKNOWN',
      status: 404,
      nearest: 'faq',
      known: ['faq', 'webhook'],
      instance: '/v1/queues/fap/jobs',
    });
    expect((await post(`${jobs('elsewhere')}?unknown=allow`, { data: 1 })).status).toBe(202);
    expect((await post(`${jobs('elsewhere')}?unknown=please`, { data: 1 })).body.field).toBe(
      '?unknown',
    );
    expect((await post(`${jobs('a%3Ab')}?unknown=allow`, { data: 1 })).body.code).toBe(
      'HOLDFAST_QUEUE_NAME_INVALID',
    );
  });

  it.each([
    ['garbage', '\u0000\u0001\u00ff{', 400],
    ['nothing', '', 400],
    ['half a document', '{"data":', 400],
    ['a key that would poison objects', '{"data":{"__proto__":{"a":1}}}', 400],
    ['a string', '"x"', 400],
  ])('refuses %s as a body', async (_, body, status) => {
    const answer = await post(jobs(), body);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ code: 'HOLDFAST_INPUT_INVALID', status });
    expect(answer.body.remedy).not.toBe('');
  });

  it('refuses bytes that are no UTF-8, and a packed body, instead of storing something else', async () => {
    const send = async (body: Uint8Array<ArrayBuffer>, headers = {}) => {
      const type = { 'content-type': 'application/json' };
      const init = { method: 'POST', headers: { ...type, ...headers }, body };
      const response = await fetch(jobs(), init);
      return { status: response.status, body: await json(response) };
    };
    const latin1 = Uint8Array.from([...Buffer.from('{"data":"Gr'), 0xfc, ...Buffer.from('n"}')]);
    const refused = await send(latin1);
    expect(refused).toMatchObject({
      status: 400,
      body: { detail: expect.stringMatching(/UTF-8/) },
    });
    const packed = await send(Uint8Array.from(gzipSync('{"data":1}')), {
      'content-encoding': 'gzip',
    });
    expect(packed).toMatchObject({ status: 415, body: { detail: expect.stringMatching(/gzip/) } });
    expect((await send(Uint8Array.from(Buffer.from('{"data":"Grün"}')))).status).toBe(202);
  });

  it('names a key that would poison objects', async () => {
    const { body } = await post(jobs(), '{"data":{"__proto__":{"a":1}}}');
    expect(body.detail).toContain('__proto__');
  });

  it('refuses JSON that is nested 100,000 levels deep', async () => {
    const deep = `{"data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    const { status, body } = await post(jobs(), deep);
    expect(status).toBe(400);
    expect(body).toMatchObject({ field: 'data', code: 'HOLDFAST_INPUT_INVALID' });
  });

  it('refuses a job over MAX_JOB_BYTES and a body over its limit with 413, naming size and limit', async () => {
    const large = await post(jobs(), { data: 'x'.repeat(100_001) });
    expect(large.status).toBe(413);
    const code = 'HOLDFAST_JOB_TOO_LARGE';
    expect(large.body).toMatchObject({ code, bytes: 100_003, bytesMax: 100_000, field: 'data' });
    const batch = await post(jobs(), { jobs: [{ data: 1 }, { data: 'x'.repeat(100_001) }] });
    expect(batch.body).toMatchObject({ code, field: 'jobs[1].data' });
    const text = JSON.stringify({ data: 'x'.repeat(10 * 1024 * 1024) });
    const huge = await post(jobs(), text);
    expect(huge.status).toBe(413);
    expect(huge.body).toMatchObject({ code, bytes: text.length, bytesMax: 8_388_608 });
    expect(huge.body.detail).toMatch(/10485771 bytes.* 8388608.* MAX_JOB_BYTES/);
    const unmeasured = await fetch(jobs(), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Blob([text]).stream(),
      duplex: 'half',
    } as RequestInit);
    expect(unmeasured.status).toBe(413);
    const { detail, bytes, bytesMax } = await json(unmeasured);
    expect(detail).toMatch(/more than the 8388608 bytes.* MAX_JOB_BYTES/);
    expect([bytes, bytesMax]).toEqual([undefined, 8_388_608]);
  });

  it('tells that to a client which reads the answer only after it has sent all', async () => {
    const { hostname, port } = new URL(service.url);
    const socket = connect(Number(port), hostname).pause();
    const text = JSON.stringify({ data: 'x'.repeat(20 * 1024 * 1024) });
    const head = `POST /v1/queues/faq/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.write(
        `${head}Content-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
        (error) => (error ? reject(error) : resolve()),
      );
    });
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    expect(answer).toMatch(/^HTTP\/1.1 413 [\s\S]*HOLDFAST_JOB_TOO_LARGE/);
  });

  it('takes JSON only: a form of a web page can post the rest without asking', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
      const answer = await post(jobs(), '{"data":1}', { 'content-type': type });
      expect(answer.status).toBe(415);
      expect(answer.body.detail).toMatch(/application\/json/);
    }
  });

  it('says 503 and when to try again while Redis is away, and 507 while the journal is full', async () => {
    service.client.failure = new RedisUnavailableError('adding a job', 'refused', 'o-1');
    const away = await post(jobs(), { data: 1 });
    service.client.failure = new JournalFullError('/secret/path', '64 MiB');
    const full = await post(jobs(), { data: 1 });
    service.client.failure = undefined;
    expect(away.status).toBe(503);
    expect(Number(away.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(away.body).toMatchObject({ condition: 'refused', outageId: 'o-1' });
    expect(full.status).toBe(507);
    expect(full.body.code).toBe('HOLDFAST_JOURNAL_FULL');
    expect(JSON.stringify(full.body)).not.toContain('/secret/path');
  });
});

describe('asking for a job', () => {
  it('answers 404 for one that is not there, in a queue that nobody knows too', async () => {
    for (const url of [
      `${jobs()}/none`,
      `${jobs('nobody')}/none`,
      `${jobs()}/${'x'.repeat(500)}`,
    ]) {
      const response = await fetch(url);
      expect(response.status).toBe(404);
      expect((await json(response)).code).toBe('HOLDFAST_JOB_NOT_FOUND');
    }
  });

  it('lists the queues with their counts, which are null while Redis is away', async () => {
    await post(jobs('webhook'), { data: 1 });
    const { queues } = await json(await fetch(`${service.url}/v1/queues`));
    expect(queues).toContainEqual({
      queue: 'webhook',
      isConsuming: true,
      isPaused: false,
      counts: expect.objectContaining({ waiting: 1 }),
    });
    service.client.failure = new RedisUnavailableError('counting', 'refused', undefined);
    const away = await json(await fetch(`${service.url}/v1/queues`));
    service.client.failure = undefined;
    expect(away.queues.map((q: { counts: unknown }) => q.counts)).toEqual([null, null]);
  });

  it('answers what is not an endpoint with a problem that lists the endpoints, whatever its body', async () => {
    const bodies = [
      {},
      { headers: { 'content-type': 'application/json' } },
      { headers: { 'content-type': 'text/plain', 'content-length': '1' }, body: 'x' },
    ];
    for (const [method, path] of [
      ['GET', '/v2'],
      ['DELETE', '/v1/queues/faq/jobs/x'],
      ['OPTIONS', '/v1/queues/faq/jobs'],
      ['POST', '/queues/nix'],
    ] as const) {
      for (const sent of bodies) {
        const answer = await rawRequest(service.url, path, { method, ...sent });
        expect(answer.headers['content-type']).toMatch(/application\/problem\+json/);
        const problem = JSON.parse(answer.body);
        expect(problem).toMatchObject({ status: 404, code: 'HOLDFAST_ENDPOINT_UNKNOWN' });
        expect(problem.detail).toMatch(
          `${method} ${path} is not an endpoint. Endpoints: GET /livez,`,
        );
      }
    }
    const undecodable = await rawRequest(service.url, '/v1/queues/%zz/jobs/x');
    expect(JSON.parse(undecodable.body)).toMatchObject({
      status: 400,
      code: 'HOLDFAST_INPUT_INVALID',
    });
  });
});

describe('the document of a job', () => {
  const documentOf = (id: string, queue = 'faq') => fetch(`${jobs(queue)}/${id}/document`);

  it('is served from the output folder as markdown', async () => {
    writeFileSync(join(outputDir, 'doc-1.md'), '# Answer ü\n');
    const response = await documentOf('doc-1');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/markdown; charset=utf-8');
    expect(await response.text()).toBe('# Answer ü\n');
  });

  it('is served from the result by a replica without the file, and 409 comes before it is there', async () => {
    const { body } = await post(jobs('webhook'), { data: 1, options: { jobId: 'doc-2' } });
    const early = await documentOf(body.id, 'webhook');
    expect(early.status).toBe(409);
    expect(early.headers.get('retry-after')).toBe('1');
    const worker = new Worker(
      'webhook',
      async (job) => (job.id === 'doc-2' ? { markdown: '# From the result' } : null),
      { connection: { url: redis.url } },
    );
    await new Promise<void>((resolve) => {
      worker.on('drained', resolve);
    });
    await worker.close();
    expect(await (await documentOf('doc-2', 'webhook')).text()).toBe('# From the result');
  });

  it('is never a file outside the output folder', async () => {
    writeFileSync(join(folder, 'secret.md'), 'secret');
    symlinkSync(join(folder, 'secret.md'), join(outputDir, 'link.md'));
    const tries = [
      '..%2Fsecret',
      '%2e%2e%2fsecret',
      '..%5csecret',
      'link',
      '.%2e%2Fsecret',
      'a%00b',
    ];
    for (const id of [...tries, encodeURIComponent(join(folder, 'secret'))]) {
      const { status, body } = await rawRequest(service.url, `/v1/queues/faq/jobs/${id}/document`);
      expect(status, id).toBe(404);
      expect(body).not.toContain('"secret"');
      expect(JSON.parse(body).code).toBe('HOLDFAST_JOB_NOT_FOUND');
    }
  });
});
