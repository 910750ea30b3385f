/** Reads what a queue of BullMQ is like from its keys, without BullMQ: quick, bounded, changes nothing. */
import { setTimeout as sleep } from 'node:timers/promises';
import { lookAtQueue } from '../queue/next-job.ts';
import { isNotAllowed, type Link } from './link.ts';

const QUEUES_MAX = 200;
const SCAN_COUNT = 1000;
/** Rounds of SCAN for each server: 50,000 keys, and with --deep 5 million. */
const ROUNDS = 50;
const ROUNDS_DEEP = 5000;
const ACTIVE_MAX = 500;
const LOCKS_MAX = 500;
const FAILED_LOOKED_AT = 50;
const HOUR_MS = 3_600_000;
/** A job that is just being taken or finished has no lock for a moment, ms. */
const SETTLE_MS = 150;

export interface QueueSeen {
  name: string;
  waiting: number;
  active: number;
  delayed: number;
  failed: number;
  isPaused: boolean;
  /** For how long the job that is next has been due, ms. */
  oldestWaitMs: number | undefined;
  /** Ids of active jobs whose lock is gone, twice looked at. */
  unlocked: readonly string[];
  failedLastHour: number;
  completedLastHour: number;
  /** Of the last failed ones: for having stalled too often. */
  stalledOut: number;
  /** `bullmq:6.7.0`, of who opened it last. */
  version: string | undefined;
}

/**
 * BullMQ keeps no list of queues; each has a `meta` key. Where keys may not be listed these are `known`.
 */
export async function queueNames(
  link: Link,
  prefix: string,
  known: readonly string[],
  isDeep: boolean,
): Promise<{ names: string[]; isComplete: boolean; isListed: boolean }> {
  const found = await scan(link, `${prefix}:*:meta`, QUEUES_MAX, isDeep).catch((error: unknown) => {
    if (isNotAllowed(error)) return undefined;
    throw error;
  });
  if (found === undefined) {
    const names = [...new Set(known)].sort().slice(0, QUEUES_MAX);
    return { names, isComplete: true, isListed: false };
  }
  const { keys, isComplete } = found;
  const names = keys.map((key) => key.slice(prefix.length + 1, -':meta'.length));
  return { names: names.filter((name) => !name.includes(':')).sort(), isComplete, isListed: true };
}

export async function lookAt(
  link: Link,
  prefix: string,
  name: string,
  now: number,
): Promise<QueueSeen> {
  const key = (part: string): string => `${prefix}:${name}:${part}`;
  const { client } = link;
  const [wait, prioritized, paused, active, delayed, failed, version, failedHour, completedHour] =
    await link.ask(
      name,
      Promise.all([
        client.llen(key('wait')),
        client.zcard(key('prioritized')),
        client.llen(key('paused')),
        client.lrange(key('active'), 0, ACTIVE_MAX - 1),
        client.zcard(key('delayed')),
        client.zcard(key('failed')),
        client.hget(key('meta'), 'version'),
        client.zcount(key('failed'), now - HOUR_MS, '+inf'),
        client.zcount(key('completed'), now - HOUR_MS, '+inf'),
      ]),
    );
  const { isPaused, dueAt } = await link.ask(name, lookAtQueue(client, prefix, name));
  return {
    name,
    waiting: wait + prioritized + paused,
    active: active.length,
    delayed,
    failed,
    isPaused,
    oldestWaitMs: dueAt === undefined ? undefined : Math.max(0, now - dueAt),
    unlocked: await unlockedOf(link, active, key),
    failedLastHour: failedHour,
    completedLastHour: completedHour,
    stalledOut: failedHour === 0 ? 0 : await stalledOutOf(link, key),
    version: version ?? undefined,
  };
}

/** Locks of the queues that were seen, with the job's id. */
export async function lockNames(
  link: Link,
  prefix: string,
  queues: readonly QueueSeen[],
  isDeep: boolean,
): Promise<{ key: string; queue: string; id: string }[]> {
  const names = new Set(queues.map(({ name }) => name));
  const { keys } = await scan(link, `${prefix}:*:lock`, LOCKS_MAX, isDeep);
  return keys.flatMap((key) => {
    const [queue, ...id] = key.slice(prefix.length + 1, -':lock'.length).split(':');
    return names.has(queue!) && id.length > 0 ? [{ key, queue: queue!, id: id.join(':') }] : [];
  });
}

async function unlockedOf(
  link: Link,
  active: readonly string[],
  key: (part: string) => string,
): Promise<string[]> {
  const without = async (ids: readonly string[]): Promise<string[]> => {
    const locks = await link.ask(
      'EXISTS',
      Promise.all(ids.map((id) => link.client.exists(key(`${id}:lock`)))),
    );
    return ids.filter((_, i) => locks[i] === 0);
  };
  const first = await without(active);
  if (first.length === 0) return [];
  await sleep(SETTLE_MS);
  const still = new Set(
    await link.ask('LRANGE', link.client.lrange(key('active'), 0, ACTIVE_MAX - 1)),
  );
  return await without(first.filter((id) => still.has(id)));
}

async function stalledOutOf(link: Link, key: (part: string) => string): Promise<number> {
  const ids = await link.ask(
    'ZREVRANGE',
    link.client.zrevrange(key('failed'), 0, FAILED_LOOKED_AT - 1),
  );
  const reasons = await link.ask(
    'HGET',
    Promise.all(ids.map((id) => link.client.hget(key(id), 'failedReason'))),
  );
  return reasons.filter((reason) => /stalled more than/.test(reason ?? '')).length;
}

async function scan(
  link: Link,
  pattern: string,
  most: number,
  isDeep: boolean,
): Promise<{ keys: string[]; isComplete: boolean }> {
  const keys = new Set<string>();
  let isComplete = true;
  for (const { client } of link.servers()) {
    let cursor = '0';
    let rounds = isDeep ? ROUNDS_DEEP : ROUNDS;
    do {
      const [next, found] = await link.ask(
        'SCAN',
        client.scan(cursor, 'MATCH', pattern, 'COUNT', SCAN_COUNT),
      );
      for (const key of found) keys.add(key);
      cursor = next;
      rounds -= 1;
    } while (cursor !== '0' && rounds > 0 && keys.size < most);
    if (cursor !== '0') isComplete = false;
  }
  return { keys: [...keys].slice(0, most), isComplete: isComplete && keys.size <= most };
}
