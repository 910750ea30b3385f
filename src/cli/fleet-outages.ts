/** The records that the replicas of a fleet put into Redis after an outage, for the command line. */
import type { Config } from '../config.ts';
import type { StoredOutage } from '../outage/archive.ts';
import { sharedOutages } from '../queue/fleet-outage.ts';
import { createRedisClient } from '../redis/connect.ts';
import { readEmbeddedAddress } from '../redis/embedded.ts';
import { within } from '../within.ts';
import { reasonOf } from './reason.ts';

/** A post-mortem is also written while Redis is away: then without the others. */
const ASK_MS = 3000;

/** Never throws: `problem` says why there are none. */
export async function fleetOutages(
  config: Config,
  fleetId: string,
): Promise<{ outages: StoredOutage[]; problem?: string }> {
  const { redis, dataDir } = config;
  const isNamed =
    redis.url !== undefined || redis.sentinels.length > 0 || redis.clusterNodes.length > 0;
  const url = redis.url ?? (isNamed ? undefined : readEmbeddedAddress(dataDir));
  if (!isNamed && url === undefined) return { outages: [], problem: 'no Redis is configured' };
  let lastError: unknown;
  const client = createRedisClient({ ...redis, url }, 'command', {
    name: 'cli',
    onError: (error) => {
      lastError = error;
    },
  });
  try {
    const asked = sharedOutages(client, redis.prefix, fleetId);
    return { outages: await within(asked, ASK_MS, 'reading the records of the fleet') };
  } catch (error) {
    return { outages: [], problem: reasonOf(lastError ?? error) };
  } finally {
    client.disconnect();
  }
}
