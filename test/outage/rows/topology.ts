/** Rows 7 and 8: Sentinel and Cluster fail over. */
import type { RedisServer } from '../../support/redis-server.ts';
import type { Row } from '../harness/row.ts';
import { until } from '../harness/until.ts';
import type { World } from '../harness/world.ts';
import { CLUSTER_PREFIX } from '../topology/cluster.ts';

/** Noticing (2 s), agreeing and promoting, ms; what is missing is waited for. */
const FAILOVER_MS = 3000;
const PROMOTED_WITHIN_MS = 30_000;
/** How ioredis finds the new master again, ms. */
const FIRST_JOB_MS = 2500;

async function isMaster(server: RedisServer): Promise<boolean> {
  const role = (await server.command('ROLE')) as unknown[];
  return role[0] === 'master';
}

async function promoted(servers: readonly RedisServer[]): Promise<RedisServer> {
  return await until('a replica is promoted', PROMOTED_WITHIN_MS, async () => {
    for (const server of servers) if (await isMaster(server)) return server;
    return undefined;
  });
}

/** Of a Cluster: the master that owns the queues, and its replica. */
async function ownersOf(world: World): Promise<{ master: RedisServer; replica: RedisServer }> {
  const { servers } = world.stage;
  const slot = Number(await servers[0]!.command('CLUSTER', 'KEYSLOT', `${CLUSTER_PREFIX}:work`));
  const owner = Math.floor((slot * 3) / 16_384);
  return { master: servers[owner]!, replica: servers[owner + 3]! };
}

export const topologyRows: readonly Row[] = [
  {
    id: '7.1',
    fault: 'Sentinel: master SIGKILLed, a replica is promoted',
    topology: 'sentinel',
    outageMs: FAILOVER_MS,
    brief: {},
    inFlightMs: [2000, 4000, 6000, 8000, 10_000],
    cause: ({ server }) => server.kill(),
    async mend({ stage }) {
      await promoted(stage.servers.slice(1));
    },
    expect: { detectMs: 500, firstJobMs: FIRST_JOB_MS },
  },
  {
    id: '7.2',
    fault: 'Sentinel: master SIGSTOPped, a replica promoted, the old one wakes',
    topology: 'sentinel',
    outageMs: FAILOVER_MS,
    inFlightMs: [2000, 4000, 6000, 8000, 10_000, 15_000],
    cause: async ({ server }) => server.freeze(),
    async mend({ stage }) {
      const master = await promoted(stage.servers.slice(1));
      stage.servers[0]!.thaw();
      // Those who look from outside are plain clients: they must not add to the stale master.
      await until('the Sentinels name the new master', PROMOTED_WITHIN_MS, async () => {
        stage.producer.disconnect(true);
        return (await stage.producer.info('server')).includes(`tcp_port:${master.port}`);
      });
    },
    async verify({ stage }) {
      await until('the old master follows', PROMOTED_WITHIN_MS, async () => {
        return !(await isMaster(stage.servers[0]!));
      });
      return [];
    },
    expect: { firstJobMs: FIRST_JOB_MS, mayLoseNotes: true },
  },
  {
    id: '8.1',
    fault: "Cluster of 3+3: the queues' master killed, its replica promoted",
    topology: 'cluster',
    outageMs: FAILOVER_MS,
    brief: {},
    inFlightMs: [2000, 4000, 6000, 8000, 10_000],
    async cause(world) {
      const owners = await ownersOf(world);
      world.memory.set('owners', owners);
      world.faultAt = Date.now();
      await owners.master.kill();
    },
    async mend(world) {
      const { replica } = world.memory.get('owners') as { replica: RedisServer };
      await promoted([replica]);
    },
    // The Cluster client tries other nodes before it says so.
    expect: { detectMs: 2500, firstJobMs: FIRST_JOB_MS },
  },
];
