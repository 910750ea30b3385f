/**
 * How the command line reaches the jobs: through a running service if there is one (its journal
 * keeps jobs in an outage), else straight through Redis. Finding it never starts anything and never
 * waits long: everything that is tried has a deadline.
 */
import type { Config } from '../config.ts';
import { NothingReachableError } from '../errors.ts';
import { readEmbeddedAddress } from '../redis/embedded.ts';
import { HttpRoute } from './http-route.ts';
import type { Route } from './route.ts';
import { bestToken, runningServices } from './services.ts';

/**
 * The best route there is. `url` names a service and then nothing else is tried.
 * @throws NothingReachableError with everything that was tried and why it is not there
 */
export async function findRoute(config: Config, url: string | undefined): Promise<Route> {
  const { services, tried } = await runningServices(config, url);
  const [service] = services;
  if (service !== undefined) return new HttpRoute(service.url, bestToken(config));
  if (url !== undefined) throw new NothingReachableError(tried);

  const redis = redisOf(config);
  if (redis === undefined) {
    throw new NothingReachableError([
      ...tried,
      `REDIS_URL: not set; ${config.dataDir}/redis.json: no embedded Redis runs`,
    ]);
  }
  // Only now: BullMQ takes longer to load than everything else that a command does.
  const { RedisRoute } = await import('./redis-route.ts');
  const route = new RedisRoute(redis);
  try {
    await route.connect();
    return route;
  } catch (error) {
    await route.close();
    throw new NothingReachableError([...tried, (error as Error).message]);
  }
}

/** The configured Redis, else the one that a service on this machine brought along. */
export function redisOf({ redis, dataDir }: Config): Config['redis'] | undefined {
  const isConfigured =
    redis.url !== undefined || redis.sentinels.length > 0 || redis.clusterNodes.length > 0;
  if (isConfigured) return redis;
  const url = readEmbeddedAddress(dataDir);
  return url === undefined ? undefined : { ...redis, url };
}
