/** Three masters with one replica each, real processes. */
import { Cluster } from 'ioredis';
import { freePort, type RedisServer, startRedis } from '../../support/redis-server.ts';
import { until } from '../harness/until.ts';
import type { OpenStage } from '../harness/world.ts';

const SLOTS = 16_384;
const START_MS = 30_000;
/** A node counts as failed after this time, ms. */
const NODE_TIMEOUT_MS = 2000;
/** All queues of a row in one slot, as BullMQ asks for in a Cluster. */
export const CLUSTER_PREFIX = '{bull}';

export const clusterStage: OpenStage = async () => {
  const nodes: RedisServer[] = [];
  for (let i = 0; i < 6; i++) nodes.push(await startNode());
  const masters = nodes.slice(0, 3);
  for (const [i, master] of masters.entries()) {
    const from = Math.floor((i * SLOTS) / 3);
    const to = Math.floor(((i + 1) * SLOTS) / 3) - 1;
    await master.command('CLUSTER', 'ADDSLOTSRANGE', from, to);
    await master.command('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
  }
  for (const node of nodes.slice(1)) {
    await node.command('CLUSTER', 'MEET', nodes[0]!.host, nodes[0]!.port);
  }
  for (const [i, replica] of nodes.slice(3).entries()) {
    const id = String(await masters[i]!.command('CLUSTER', 'MYID'));
    await until('a replica knows its master', START_MS, async () =>
      String(await replica.command('CLUSTER', 'NODES')).includes(id),
    );
    await replica.command('CLUSTER', 'REPLICATE', id);
  }
  for (const node of nodes) {
    await until('the cluster is whole', START_MS, async () => {
      const info = String(await node.command('CLUSTER', 'INFO'));
      const lines = String(await node.command('CLUSTER', 'NODES')).split('\n');
      return (
        info.includes('cluster_state:ok') &&
        lines.filter((line) => line.includes('slave') && line.includes('connected')).length === 3
      );
    });
  }
  for (const replica of nodes.slice(3)) {
    await until('a replica is in sync', START_MS, async () =>
      String(await replica.command('INFO', 'replication')).includes('master_link_status:up'),
    );
  }
  const addresses = nodes.map(({ host, port }) => ({ host, port }));
  const producer = new Cluster(addresses, {
    clusterRetryStrategy: () => 50,
    redisOptions: { maxRetriesPerRequest: null },
  });
  producer.on('error', () => undefined);
  return {
    servers: nodes,
    proxies: [],
    doorPort: nodes[0]!.port,
    redisOf: () => ({ url: undefined, clusterNodes: addresses }),
    producer,
    prefix: CLUSTER_PREFIX,
    async stop() {
      producer.disconnect();
      await Promise.all(nodes.map((node) => node.stop()));
    },
  };
};

/** The bus listens 10,000 ports higher, which must exist. */
async function startNode(): Promise<RedisServer> {
  for (;;) {
    const port = await freePort();
    if (port > 55_000) continue;
    return await startRedis({
      port,
      aof: true,
      args: [
        ...['--cluster-enabled', 'yes', '--cluster-node-timeout', `${NODE_TIMEOUT_MS}`],
        ...['--repl-diskless-sync-delay', '0'],
      ],
    });
  }
}
