/**
 * Who the server is and what time it has: questions without a key. In a Cluster ioredis asks any node, which
 * says nothing of the one that matters: there they are asked in a script with a key, so the master of the key's
 * slot answers, and one that lost the slot refuses.
 */
import type { Cluster, Redis } from 'ioredis';

const INFO = `return redis.call('INFO')`;
const TIME = `return redis.call('TIME')`;

/** INFO of the server that has `key`. */
export async function infoOf(client: Redis | Cluster, key: string): Promise<string> {
  return client.isCluster ? String(await client.eval(INFO, 1, key)) : await client.info();
}

/** The wall clock of the server that has `key`, ms since the epoch. */
export async function timeOf(client: Redis | Cluster, key: string): Promise<number> {
  const reply = client.isCluster ? client.eval(TIME, 1, key) : client.time();
  const [seconds, micros] = (await reply) as unknown as [string, string];
  return Number(seconds) * 1000 + Number(micros) / 1000;
}
