/** What an Idempotency-Key must not do: lose a job, hold an answer up, or pass one request off as another. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Accepted } from '../../src/queue/client.ts';
import { resilience, testConfig } from '../support/config.ts';
import { type HttpService, rawRequest, startHttpService } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const ENQUEUE_TIMEOUT_MS = 1000;

let redis: RedisServer;
let service: HttpService;
beforeAll(async () => {
  redis = await startRedis();
  service = await start();
});
afterAll(() => service[Symbol.asyncDispose]());

const start = () => {
  const { journal } = testConfig().resilience;
  const timely = { ...resilience, journal, enqueueTimeoutMs: ENQUEUE_TIMEOUT_MS };
  return startHttpService(redis.url, { config: { resilience: timely } });
};

async function post(to: HttpService, body: unknown, key?: string | string[]) {
  const answer = await rawRequest(to.url, '/v1/queues/faq/jobs', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key && { 'idempotency-key': key }) },
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: JSON.parse(answer.body) };
}

const dataOf = async ({ id }: Accepted) =>
  (await service.client.queue('faq').getJob(id))?.data as unknown;

describe('a batch with a key', () => {
  it('adds what is new between jobs that are there under ids of their own', async () => {
    const own = (jobId: string) => ({ data: jobId, options: { jobId } });
    for (const jobId of ['own-a', 'own-b']) await post(service, own(jobId));
    const batch = { jobs: [own('own-a'), { data: 'new' }, own('own-b')] };
    const { status, body } = await post(service, batch, 'between');
    expect(status).toBe(202);
    expect(await Promise.all(body.jobs.map(dataOf))).toEqual(['own-a', 'new', 'own-b']);
    // Another replica remembers nothing: the ids keep it from adding anything twice.
    const before = await service.client.counts('faq');
    await using replica = await start();
    expect((await post(replica, batch, 'between')).body).toEqual(body);
    expect(await service.client.counts('faq')).toEqual(before);
  });

  it('of ids that are made from it adds nothing a second time, also what is gone already', async () => {
    const batch = { jobs: [{ data: 1 }, { data: 2 }, { data: 3 }] };
    const first = await post(service, batch, 'made');
    const middle = await service.client.queue('faq').getJob(first.body.jobs[1].id);
    await middle!.remove();
    await using replica = await start();
    expect((await post(replica, batch, 'made')).body).toEqual(first.body);
    expect(await dataOf(first.body.jobs[1])).toBeUndefined();
  });

  it('of which a part is there is added to its end', async () => {
    const batch = { jobs: [{ data: 1 }, { data: 2 }] };
    const { body } = await post(service, batch, 'part');
    const last = await service.client.queue('faq').getJob(body.jobs[1].id);
    await last!.remove();
    await using replica = await start();
    expect((await post(replica, batch, 'part')).body).toEqual(body);
    expect(await dataOf(body.jobs[1])).toBe(2);
  });
});

describe('the answer to a request with a key', () => {
  const never = () => new Promise<never>(() => {});
  const took = async (act: () => Promise<unknown>) => {
    const began = performance.now();
    await act();
    return performance.now() - began;
  };

  it('does not wait long for Redis to say whether the job is there', async () => {
    await using silent = await start();
    silent.client.job = never;
    const tookMs = await took(async () => {
      const { status } = await post(silent, { data: 1 }, 'unseen');
      expect(status).toBe(202);
    });
    expect(tookMs).toBeLessThan(ENQUEUE_TIMEOUT_MS);
  });

  it('comes within ENQUEUE_TIMEOUT whatever the look and the enqueue wait for, and can be sent again', async () => {
    await using silent = await start();
    const { enqueue } = silent.client;
    silent.client.job = never;
    silent.client.enqueue = never;
    let first: unknown;
    const tookMs = await took(async () => {
      first = await post(silent, { data: 1 }, 'unanswered');
    });
    const jobIds = [expect.stringMatching(/^key-/)];
    const body = { code: 'HOLDFAST_OUTCOME_UNKNOWN', jobIds };
    expect(first).toMatchObject({ status: 504, body });
    // What the machine needs for the rest.
    expect(tookMs).toBeLessThan(ENQUEUE_TIMEOUT_MS + 500);
    silent.client.enqueue = enqueue;
    expect((await post(silent, { data: 1 }, 'unanswered')).status).toBe(202);
  });
});

describe('a key', () => {
  it('that comes twice in one request is refused', async () => {
    const { status, body } = await post(service, { data: 1 }, ['one', 'two']);
    expect(status).toBe(400);
    expect(body).toMatchObject({
      field: 'Idempotency-Key',
      detail: expect.stringMatching(/twice/),
    });
  });

  it('of a job is refused for a batch of the same job', async () => {
    expect((await post(service, { data: 1 }, 'single')).status).toBe(202);
    expect((await post(service, { jobs: [{ data: 1 }] }, 'single')).status).toBe(422);
  });
});
