/** What the status page is fed with, from a real Redis that falls silent. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpService, startHttpService } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

interface Status {
  headline: string;
  level: string;
  condition: { name: string; remedy: string } | null;
  queues: {
    queue: string;
    reading: { waiting: number; oldestAt: number; readAt: number } | null;
  }[];
}

let redis: RedisServer;
let service: HttpService;
beforeAll(async () => {
  redis = await startRedis();
  service = await startHttpService(redis.url, { queues: ['faq'] });
});
afterAll(() => service[Symbol.asyncDispose]());

const status = async () => (await (await fetch(`${service.url}/v1/status`)).json()) as Status;
/** The next event of the stream that satisfies `is`. */
async function nextEvent(is: (status: Status) => boolean): Promise<Status> {
  const response = await fetch(`${service.url}/v1/status/events`);
  let text = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const events = text.split('\n\n').slice(0, -1);
    const found = events
      .map((event) => JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? 'null') as Status | null)
      .find((event) => event !== null && is(event));
    if (found) return found;
  }
  throw new Error('the stream ended');
}

describe('the status', () => {
  it('tells how many jobs wait and since when', async () => {
    const before = Date.now();
    await service.client.enqueue('faq', 'faq', { question: 'why?' });
    await sleep(5);
    await service.client.enqueue('faq', 'faq', { question: 'how?' });
    const { queues, level } = await status();
    expect(level).toBe('calm');
    expect(queues[0]).toMatchObject({ queue: 'faq', reading: { waiting: 2 } });
    const { oldestAt } = queues[0]!.reading!;
    expect(oldestAt).toBeGreaterThanOrEqual(before);
    expect(oldestAt).toBeLessThan(Date.now() - 4);
  });

  it('is answered while Redis is silent, with what was read last', async () => {
    redis.freeze();
    try {
      // Longer than a reading is shared: it is asked for anew, in vain.
      await sleep(1000);
      const answer = await Promise.race([status(), sleep(5000).then(() => 'no answer')]);
      expect(answer).toMatchObject({ queues: [{ reading: { waiting: 2 } }] });
    } finally {
      redis.thaw();
    }
  });

  it('tells the condition and the remedy to whoever watches, when the breaker opens', async () => {
    const told = nextEvent(({ level }) => level === 'outage');
    service.seen.state = {
      breaker: 'open',
      condition: 'refused',
      outageId: 'o-1',
      since: Date.now(),
    };
    expect(await told).toMatchObject({
      headline: 'Redis is away',
      condition: { name: 'refused', remedy: expect.stringContaining('redis-server') },
    });
  });
});
