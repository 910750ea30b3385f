/**
 * One connection of a command to Redis, with plain BullMQ queues on it. Every call has a deadline, and
 * what ends it says in which condition Redis is and what to do. Never waits for Redis to come back.
 */
import { type ConnectionOptions, Queue } from 'bullmq';
import type { Cluster } from 'ioredis';
import type { Config } from '../config.ts';
import { RedisUnavailableError } from '../errors.ts';
import { readFleet } from '../queue/fleet-view.ts';
import { type ConditionName, conditions } from '../redis/condition-catalogue.ts';
import { conditionOf } from '../redis/conditions.ts';
import { createRedisClient, type RedisClient, redactRedisUrl } from '../redis/connect.ts';
import { destroyClient } from '../redis/probe.ts';
import { reasonOf } from './reason.ts';

/** Somebody sits in front: an answer within 3 s, whatever Redis does. */
const CONNECT_MS = 2000;
const CALL_MS = 2500;
const CLOSE_MS = 500;
/** ioredis keeps the process for this time when the socket has ended before. */
const DISCONNECT_MS = 10;
/** For people: more queues than this no terminal shows. */
const QUEUES_MAX = 500;
const SCAN_COUNT = 1000;
/** A dataset of many millions of keys is not looked through to its end, ms. */
const SCAN_MS = 2000;

export class RedisLink {
  /** For messages: "Redis at redis://…". */
  readonly name: string;
  readonly prefix: string;
  readonly client: RedisClient;
  /** Why `queueNames` may have missed some; undefined when it has not. */
  unlisted: string | undefined;
  readonly #queues = new Map<string, Queue>();
  #lastError: unknown;
  #isConnected = false;

  constructor(redis: Config['redis']) {
    this.prefix = redis.prefix;
    this.name = `Redis at ${addressOf(redis)}`;
    this.client = createRedisClient(redis, 'command', {
      name: 'cli',
      overrides: {
        // A server that loads its dataset is to say so instead of being waited for.
        enableReadyCheck: false,
        disconnectTimeout: DISCONNECT_MS,
        // The answers of all that was sent are wanted, also when the first is that of a replica.
        reconnectOnError: () => false,
      },
      onError: (error) => {
        this.#lastError = error;
      },
    });
  }

  /** Resolves when Redis answers. @throws RedisUnavailableError with the condition and its remedy */
  async connect(): Promise<void> {
    await this.call(this.client.ping(), undefined, CONNECT_MS);
    this.#isConnected = true;
  }

  /**
   * The answer, or a typed error that names the condition; a mistake of the command itself is passed on.
   * `operation` is what a person asked for, e.g. `pausing the queue`.
   */
  async call<T>(
    promise: Promise<T>,
    operation: string | undefined,
    timeoutMs = CALL_MS,
  ): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new Error(`no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      return await Promise.race([promise, late]);
    } catch (error) {
      const why = this.why(error);
      if (why === undefined) throw error;
      throw away(this.name, why.condition, operation, why.cause);
    } finally {
      clearTimeout(timer);
      promise.catch(() => {});
    }
  }

  /** In which condition Redis is after this error, and what shows it; undefined: the command is wrong. */
  why(error: unknown): { condition: ConditionName; cause: unknown } | undefined {
    // ioredis says why in an event, and in the rejection often only that the connection is closed.
    const cause = isReply(error) ? error : (this.#lastError ?? error);
    const condition = conditionOf(cause) ?? (isReply(error) ? undefined : this.#silence());
    return condition === undefined ? undefined : { condition, cause };
  }

  queue(name: string): Queue {
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const queue = new Queue(name, {
      connection: this.client as ConnectionOptions,
      prefix: this.prefix,
      // The worker that consumes the queue says so itself.
      skipMetasUpdate: true,
      skipVersionCheck: true,
    });
    queue.on('error', (error) => {
      this.#lastError = error;
    });
    this.#queues.set(name, queue);
    return queue;
  }

  /**
   * Queues of the prefix: those whose `meta` key is found (BullMQ keeps no list), and those that the
   * replicas of the fleet name.
   */
  async queueNames(): Promise<string[]> {
    const names = new Set<string>();
    const listing = 'listing the queues';
    const fleet = await this.call(readFleet(this.client, this.prefix), listing);
    for (const { queues } of fleet) for (const { queue } of queues) names.add(queue);
    try {
      await this.call(this.#scan(names), listing);
    } catch (error) {
      if (!(error instanceof RedisUnavailableError)) throw error;
      if (error.data.condition !== 'no-permission') throw error;
      this.unlisted = 'this user may not list keys (SCAN); these are the queues of the replicas';
    }
    return [...names].sort();
  }

  async close(): Promise<void> {
    if (!this.#isConnected) return destroyClient(this.client);
    const closed = Promise.allSettled([...this.#queues.values()].map((queue) => queue.close()));
    await this.call(closed, undefined, CLOSE_MS).catch(() => {});
    destroyClient(this.client);
  }

  async #scan(names: Set<string>): Promise<void> {
    const head = `${this.prefix}:`;
    const nodes = 'nodes' in this.client ? (this.client as Cluster).nodes('master') : [this.client];
    const endsAt = performance.now() + SCAN_MS;
    for (const node of nodes) {
      let cursor = '0';
      do {
        const [next, keys] = await node.scan(cursor, 'MATCH', `${head}*:meta`, 'COUNT', SCAN_COUNT);
        for (const key of keys) names.add(key.slice(head.length, -':meta'.length));
        cursor = next;
        if (names.size >= QUEUES_MAX || performance.now() > endsAt) {
          this.unlisted = 'there are more queues or keys than are looked through here';
          return;
        }
      } while (cursor !== '0');
    }
  }

  /** No answer at all: a server that took the connection is frozen, another cannot be reached. */
  #silence(): ConditionName {
    return this.client.status === 'connecting' ? 'timeout' : 'frozen';
  }
}

function away(
  name: string,
  condition: ConditionName,
  operation: string | undefined,
  cause: unknown,
): RedisUnavailableError {
  const { meaning, remedy } = conditions[condition];
  const asked = operation === undefined ? '' : ` ${capital(operation)} did not come to its end.`;
  const again = operation === undefined ? '' : ' Then run the command again.';
  const what = `${name} is away (${condition}): ${meaning} (${reasonOf(cause)}).${asked}`;
  const said = { what, remedy: `${remedy}${again}` };
  return new RedisUnavailableError(operation ?? 'connecting', condition, undefined, cause, said);
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Redis itself answered so. */
export function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

function addressOf(redis: Config['redis']): string {
  if (redis.url !== undefined) return redactRedisUrl(redis.url);
  const nodes = redis.sentinels.length > 0 ? redis.sentinels : redis.clusterNodes;
  return nodes.map(({ host, port }) => `${host}:${port}`).join(', ');
}
