/**
 * Which Redis is looked at, as endpoints that can be dialled: one address, a unix socket, the Sentinels,
 * or the nodes of a Cluster. Only decides; opens nothing.
 */
import type { ConnectionOptions } from 'node:tls';
import type { Config, RedisConfig } from '../config.ts';
import { parseRedisUrl, redactRedisUrl } from '../redis/address.ts';
import { readEmbeddedAddress } from '../redis/embedded-record.ts';
import { redisOptions } from '../redis/options.ts';

export interface Endpoint {
  /** `db:6379`, or the path of a socket. */
  label: string;
  host: string;
  port: number;
  /** A unix socket; then host and port mean nothing. */
  path: string | undefined;
}

export interface Target {
  kind: 'single' | 'sentinel' | 'cluster';
  /** For people, without a password. */
  name: string;
  /** Brought along by a service of this data folder. */
  isEmbedded: boolean;
  redis: RedisConfig;
  endpoints: readonly Endpoint[];
}

/** Undefined when none is configured and no service of this data folder has brought one along. */
export function targetOf({ redis, dataDir }: Config): Target | undefined {
  if (redis.sentinels.length > 0) {
    const endpoints = redis.sentinels.map(endpointOf);
    const name = `${redis.sentinelName ?? 'mymaster'} of the Sentinels ${labels(endpoints)}`;
    return { kind: 'sentinel', name, isEmbedded: false, redis, endpoints };
  }
  if (redis.clusterNodes.length > 0) {
    const endpoints = redis.clusterNodes.map(endpointOf);
    const name = `the Cluster at ${labels(endpoints)}`;
    return { kind: 'cluster', name, isEmbedded: false, redis, endpoints };
  }
  const url = redis.url ?? readEmbeddedAddress(dataDir);
  if (url === undefined) return undefined;
  const { host = '', port = 0, path } = parseRedisUrl(url);
  const endpoint =
    path === undefined ? endpointOf({ host, port }) : { label: path, host, port, path };
  return {
    kind: 'single',
    name: redactRedisUrl(url),
    isEmbedded: redis.url === undefined,
    redis: { ...redis, url },
    endpoints: [endpoint],
  };
}

/** TLS options as every connection of ours uses them, or undefined; `report` hears of unreadable files. */
export function tlsOf(
  { redis }: Target,
  report: (error: Error) => void,
): ConnectionOptions | undefined {
  const deps = { retryPace: () => null, connectionName: '', report };
  return redisOptions(redis, 'probe', deps).tls;
}

function endpointOf({ host, port }: { host: string; port: number }): Endpoint {
  const label = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return { label, host, port, path: undefined };
}

function labels(endpoints: readonly Endpoint[]): string {
  return endpoints.map(({ label }) => label).join(', ');
}
