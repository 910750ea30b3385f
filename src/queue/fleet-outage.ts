/**
 * What the replicas know together of an outage, kept in Redis after it: one id for all, and the record
 * of each, for one post-mortem. Bounded and expiring. Nothing waits for it and nothing depends on it: a
 * failure leaves a replica with its own id.
 */
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { type StoredOutage, storedOutageSchema } from '../outage/archive.ts';
import { FLEET_OUTAGE, SHARE_OUTAGE } from './lua/fleet-outage.ts';

/**
 * Replicas notice an outage up to a pulse and its deadline after each other, and come back up to a
 * pause of the backoff after each other; a short reset of each connection is one story, ms.
 */
const GAP_MS = 5000;
/** Outages whose ids are remembered. */
const OUTAGES_MAX = 20;
/** Records of one outage that are kept: about 4 KB each. */
const RECORDS_MAX = 100;
/** How long ids and records are kept, ms. */
const KEEP_MS = 7 * 24 * 3_600_000;
/** Error texts of a record that the fleet gets to see; the replica's own file has all. */
const EVIDENCE_MAX = 5;
const CONDITIONS_MAX = 20;

function idsKey(prefix: string): string {
  return `${prefix}:holdfast:outages`;
}

function recordsKey(prefix: string, fleetId: string): string {
  return `${prefix}:holdfast:outage:${fleetId}`;
}

/** The fleet's id of an outage that began `sinceMs` ago; the first who asks gives its own. */
export async function agreeOnOutage(
  client: Redis | Cluster,
  prefix: string,
  own: { id: string; sinceMs: number },
): Promise<string> {
  const args = [own.id, Math.round(own.sinceMs), GAP_MS, OUTAGES_MAX, KEEP_MS];
  return String(await client.eval(FLEET_OUTAGE, 1, idsKey(prefix), ...args));
}

/** Puts a record beside those of the other replicas. */
export async function shareOutage(
  client: Redis | Cluster,
  prefix: string,
  outage: StoredOutage & { fleetId: string },
): Promise<void> {
  const { replica, id, fleetId } = outage;
  const short: StoredOutage = {
    ...outage,
    // What a process was started with is its host's business.
    commandLine: '',
    evidence: outage.evidence.slice(0, EVIDENCE_MAX),
    conditions: outage.conditions.slice(0, CONDITIONS_MAX),
  };
  const args = [`${replica} ${id}`, JSON.stringify(short), RECORDS_MAX, KEEP_MS];
  await client.eval(SHARE_OUTAGE, 1, recordsKey(prefix, fleetId), ...args);
}

/** The records that the replicas put there; those that cannot be understood do not come. */
export async function sharedOutages(
  client: Redis | Cluster,
  prefix: string,
  fleetId: string,
): Promise<StoredOutage[]> {
  const texts = await client.hvals(recordsKey(prefix, fleetId));
  return texts.flatMap((text) => {
    const parsed = z.safeParse(storedOutageSchema, parse(text));
    return parsed.success ? [parsed.data] : [];
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
