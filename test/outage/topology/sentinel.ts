/** One master, two replicas and three Sentinels, all real processes. */
import { Redis } from 'ioredis';
import { startRedis } from '../../support/redis-server.ts';
import { until } from '../harness/until.ts';
import type { OpenStage } from '../harness/world.ts';

export const MASTER_NAME = 'holdfast-master';
const START_MS = 20_000;
/** A master counts as down after this time, ms; shorter than in production, the same mechanism. */
const DOWN_AFTER_MS = 2000;

export const sentinelStage: OpenStage = async () => {
  const master = await startRedis({ aof: true });
  const replicaOf = [
    '--replicaof',
    master.host,
    `${master.port}`,
    '--repl-diskless-sync-delay',
    '0',
  ];
  const replicas = [
    await startRedis({ aof: true, args: replicaOf }),
    await startRedis({ aof: true, args: replicaOf }),
  ];
  const lines = [
    `sentinel monitor ${MASTER_NAME} ${master.host} ${master.port} 2`,
    `sentinel down-after-milliseconds ${MASTER_NAME} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${MASTER_NAME} 5000`,
  ];
  const sentinels = [
    await startRedis({ sentinel: lines }),
    await startRedis({ sentinel: lines }),
    await startRedis({ sentinel: lines }),
  ];
  for (const replica of replicas) {
    await until('a replica is in sync', START_MS, async () =>
      String(await replica.command('INFO', 'replication')).includes('master_link_status:up'),
    );
  }
  for (const sentinel of sentinels) {
    await until('a Sentinel knows all', START_MS, async () => {
      const fields = (await sentinel.command('SENTINEL', 'MASTER', MASTER_NAME)) as string[];
      const value = (name: string): string | undefined => fields[fields.indexOf(name) + 1];
      return value('num-slaves') === '2' && value('num-other-sentinels') === '2';
    });
  }
  const addresses = sentinels.map(({ host, port }) => ({ host, port }));
  const producer = new Redis({
    sentinels: addresses,
    name: MASTER_NAME,
    retryStrategy: () => 50,
    sentinelRetryStrategy: () => 50,
    maxRetriesPerRequest: null,
  });
  producer.on('error', () => undefined);
  return {
    servers: [master, ...replicas],
    proxies: [],
    doorPort: addresses[0]!.port,
    redisOf: () => ({ url: undefined, sentinels: addresses, sentinelName: MASTER_NAME }),
    producer,
    prefix: 'bull',
    async stop() {
      producer.disconnect();
      await Promise.all([...sentinels, master, ...replicas].map((server) => server.stop()));
    },
  };
};
