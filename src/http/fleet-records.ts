/**
 * The records that the replicas of a fleet put into Redis after an outage, for a post-mortem over HTTP:
 * over the connection that is there, and without them while it is not. Never waits long, never fails.
 */

import { sharedOutages } from '../queue/fleet-outage.ts';
import type { Generation } from '../queue/generation.ts';
import { within } from '../within.ts';
import type { HttpContext } from './context.ts';

/** A hash of 100 records at the most, ms. */
const ASK_MS = 2000;

export function fleetRecords(
  redis: () => Pick<Generation, 'client'> | undefined,
  prefix: string,
): HttpContext['fleetOutages'] {
  return async (fleetId) => {
    const generation = redis();
    if (!generation) return { outages: [], problem: 'Redis is away' };
    try {
      const asked = sharedOutages(generation.client, prefix, fleetId);
      return { outages: await within(asked, ASK_MS, 'reading the records of the fleet') };
    } catch (error) {
      return { outages: [], problem: (error as Error).message };
    }
  };
}
