/** In a Cluster it is the master of the queues' slot whose identity and clock count, not any node's. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Generation } from '../../src/queue/generation.ts';
import { createRedisClient } from '../../src/redis/connect.ts';
import { type ProbePassed, probe } from '../../src/redis/probe.ts';
import { systemClock } from '../../src/time.ts';
import { redisConfig } from '../support/config.ts';
import type { RedisServer } from '../support/redis-server.ts';
import type { Stage } from './harness/world.ts';
import { CLUSTER_PREFIX, clusterStage } from './topology/cluster.ts';

const KEY = `${CLUSTER_PREFIX}:q:holdfast:probe:test`;
const ASKS = 8;
/** A stage is asked for by a row of the matrix. */
const cause = () => Promise.resolve();

let stage: Stage;
let owner: RedisServer;

beforeAll(async () => {
  stage = await clusterStage({ id: '', fault: '', outageMs: 0, cause, mend: cause }, 1);
  const slot = Number(await stage.servers[0]!.command('CLUSTER', 'KEYSLOT', KEY));
  owner = stage.servers[Math.floor((slot * 3) / 16_384)]!;
});
afterAll(() => stage.stop());

async function passed(): Promise<ProbePassed> {
  const config = redisConfig({ ...stage.redisOf(0) });
  return await probe({
    connect: () =>
      createRedisClient(config, 'probe', {
        retryPace: () => null,
        overrides: { lazyConnect: true },
      }),
    clock: systemClock,
    probeKey: KEY,
    stepTimeoutMs: 3000,
    signal: new AbortController().signal,
  });
}

it('tells the run id of the master that has the queues, whoever else answers', async () => {
  const info = String(await owner.command('INFO', 'server'));
  const runId = /run_id:(\w+)/.exec(info)![1];
  for (let asks = 0; asks < ASKS; asks += 1) {
    const { client, identity } = await passed();
    client.disconnect();
    expect(identity.runId).toBe(runId);
  }
});

it('asks that master for its clock: others that stand still are not noticed', async () => {
  const { client, clockOffset } = await passed();
  const generation = new Generation(client, clockOffset, systemClock, KEY);
  const others = stage.servers.slice(0, 3).filter((server) => server !== owner);
  for (const server of others) server.freeze();
  try {
    for (let asks = 0; asks < ASKS; asks += 1) {
      const answer = await Promise.race([
        generation.serverTime(),
        new Promise((resolve) => systemClock.after(1000, () => resolve('silence'))),
      ]);
      expect(Math.abs(Number(answer) - Date.now())).toBeLessThan(1000);
    }
  } finally {
    for (const server of others) server.thaw();
    generation.destroy();
  }
});
