/** Who is in the fleet, as every replica and every operator sees it. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { FleetView } from '../../src/queue/fleet-view.ts';
import { createService } from '../../src/service.ts';
import type { Service } from '../../src/service-contract.ts';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let redis: RedisServer;
const services = new Set<Service>();
let hold: PromiseWithResolvers<void>;

beforeAll(async () => {
  redis = await startRedis();
});
beforeEach(() => {
  hold = Promise.withResolvers<void>();
});
afterEach(async () => {
  hold.resolve();
  await Promise.all([...services].map((service) => service.stop()));
  services.clear();
  await redis.command('FLUSHALL');
});
afterAll(() => redis.stop());

async function replica(name: string, queues: readonly string[] = ['mail']): Promise<Service> {
  const workers = queues.map(
    (queue): WorkerDefinition => ({ queue, concurrency: 3, handler: () => hold.promise }),
  );
  const service = createService({
    settings: {
      REDIS_URL: redis.url,
      REPLICA: name,
      HTTP_PORT: '0',
      LOG_LEVEL: 'fatal',
      DATA_DIR: mkdtempSync(join(tmpdir(), 'holdfast-fleet-')),
      SHUTDOWN_GRACE: '5s',
    },
    workers,
    hooks: {},
  });
  services.add(service);
  await service.start();
  return service;
}

async function seenBy(service: Service): Promise<FleetView> {
  const response = await fetch(`${service.address}/v1/replicas`);
  return (await response.json()) as FleetView;
}

const statesSeenBy = async (service: Service) =>
  Object.fromEntries((await seenBy(service)).replicas.map((r) => [r.replica, r.state]));

describe('the fleet', () => {
  it('is seen by each of its replicas, with what each of them does', async () => {
    const a = await replica('a');
    const b = await replica('b', ['mail', 'print']);
    await expect
      .poll(() => statesSeenBy(a), { timeout: 10_000 })
      .toEqual({ a: 'running', b: 'running' });
    expect([a.queues, b.queues]).toEqual([['mail'], ['mail', 'print']]);
    const { replicas, isComplete } = await seenBy(a);
    expect(isComplete).toBe(true);
    expect(replicas.find((r) => r.replica === 'b')).toMatchObject({
      version: b.config.version,
      pid: process.pid,
      http: b.address,
      breaker: 'closed',
      queues: [
        { queue: 'mail', concurrency: 3, running: 0, isConsuming: true },
        { queue: 'print', concurrency: 3, running: 0, isConsuming: true },
      ],
    });
  });

  it('shows one that is quiet as degraded, and one that stops as shutting down until it is gone', async () => {
    const [a, b] = [await replica('a'), await replica('b')];
    await b.client.enqueue('mail', 'mail', {});
    await expect
      .poll(async () => Object.keys(await statesSeenBy(a)).length, { timeout: 10_000 })
      .toBe(2);
    b.quiet();
    await expect.poll(() => statesSeenBy(a), { timeout: 10_000 }).toMatchObject({ b: 'degraded' });
    const quiet = (await seenBy(a)).replicas.find((r) => r.replica === 'b');
    expect(quiet?.reason).toMatch(/takes no jobs of mail: quiet/);
    await a.client.enqueue('mail', 'mail', {});
    a.quiet();
    const stopped = a.stop();
    await expect
      .poll(() => statesSeenBy(b), { timeout: 10_000 })
      .toMatchObject({ a: 'shutting-down' });
    hold.resolve();
    await stopped;
    await expect.poll(() => statesSeenBy(b), { timeout: 10_000 }).toEqual({ b: 'degraded' });
  });

  it('forgets a replica that died when its key is over', async () => {
    const a = await replica('a');
    await replica('b');
    await expect
      .poll(async () => Object.keys(await statesSeenBy(a)).length, { timeout: 10_000 })
      .toBe(2);
    const entries = (await redis.command('KEYS', 'bull:holdfast:replica:*')) as string[];
    for (const key of entries) {
      const ttlMs = Number(await redis.command('PTTL', key));
      expect(ttlMs).toBeGreaterThan(0);
      expect(ttlMs).toBeLessThanOrEqual(30_000);
    }
    // As a SIGKILL leaves it: the name in the index, the key over.
    await redis.command('ZADD', 'bull:holdfast:replicas', `${Date.now()}`, 'dead');
    await redis.command('SET', 'bull:holdfast:replica:torn', '{"id":');
    await redis.command('ZADD', 'bull:holdfast:replicas', `${Date.now()}`, 'torn');
    await expect
      .poll(() => statesSeenBy(a), { timeout: 10_000 })
      .toEqual({ a: 'running', b: 'running' });
  });

  it('says in an outage what is not known, and shows the others as they were seen last', async () => {
    const a = await replica('a');
    await replica('b');
    await expect
      .poll(() => statesSeenBy(a), { timeout: 10_000 })
      .toEqual({ a: 'running', b: 'running' });
    await redis.kill();
    await expect.poll(() => statesSeenBy(a), { timeout: 10_000 }).toMatchObject({ a: 'degraded' });
    // The first word is only that the connection ended; the next probe knows why.
    await expect
      .poll(async () => (await seenBy(a)).reason)
      .toMatch(/Redis is away \(refused\); they were seen last at 20/);
    const view = await seenBy(a);
    expect(view.isComplete).toBe(false);
    expect(view.replicas.map((r) => r.replica)).toEqual(['a', 'b']);
    await redis.restart();
    await expect.poll(async () => (await seenBy(a)).isComplete, { timeout: 15_000 }).toBe(true);
    await expect
      .poll(() => statesSeenBy(a), { timeout: 15_000 })
      .toEqual({ a: 'running', b: 'running' });
  });
});
