/**
 * Jobs straight through Redis, for a machine where no service runs: plain BullMQ with a deadline on
 * every call. There is no journal here: while Redis is away nothing can be added.
 */
import { type ConnectionOptions, Queue } from 'bullmq';
import type { Cluster } from 'ioredis';
import type { Config } from '../config.ts';
import { OutcomeUnknownError, RedisUnavailableError } from '../errors.ts';
import { within } from '../http/deadline.ts';
import type { JobInput } from '../http/job-input.ts';
import type { Accepted, JobView } from '../queue/client.ts';
import { createRedisClient, type RedisClient, redactRedisUrl } from '../redis/connect.ts';
import { reasonOf } from './reason.ts';
import type { QueueCounts, Route } from './route.ts';

const CONNECT_MS = 5000;
const CALL_MS = 10_000;
/** `holdfast status` is for people: more queues than this no terminal shows. */
const QUEUES_MAX = 500;
const SCAN_COUNT = 1000;

export class RedisRoute implements Route {
  readonly name: string;
  readonly #prefix: string;
  readonly #client: RedisClient;
  readonly #queues = new Map<string, Queue>();
  #lastError: unknown;

  constructor(redis: Config['redis']) {
    this.#prefix = redis.prefix;
    this.name = `Redis at ${addressOf(redis)}`;
    this.#client = createRedisClient(redis, 'command', {
      name: 'cli',
      onError: (error) => {
        this.#lastError = error;
      },
    });
  }

  /** Resolves when Redis answers. @throws what it or the network said */
  async connect(): Promise<void> {
    try {
      await within(this.#client.ping(), CONNECT_MS, 'connecting');
    } catch (error) {
      throw this.#lastError ?? error;
    }
  }

  async enqueue(queue: string, jobs: readonly JobInput[]): Promise<Accepted[]> {
    const entries = jobs.map(({ name, data, options }) => ({ name, data, opts: options }));
    const adding = this.#call(this.#queue(queue).addBulk(entries), 'adding jobs');
    const added = await adding.catch((error: unknown) => {
      if (!(error instanceof RedisUnavailableError)) throw error;
      // Sent is sent: what was not answered may still act.
      throw new OutcomeUnknownError(
        this.name,
        jobs.map(({ options }) => `${options.jobId}`),
        error,
      );
    });
    return added.map((job) => ({ id: job.id!, stored: 'redis' }));
  }

  async job(queue: string, id: string): Promise<JobView | undefined> {
    // The state first: read the other way round, a job that ends in between would be "completed"
    // without its result.
    const state = await this.#call(this.#queue(queue).getJobState(id), 'reading the job');
    const job = await this.#call(this.#queue(queue).getJob(id), 'reading the job');
    if (job === undefined) return undefined;
    return {
      id,
      queue,
      name: job.name,
      state,
      progress: job.progress,
      result: job.returnvalue,
      failedReason: job.failedReason,
      attemptsMade: job.attemptsMade,
      createdAt: job.timestamp,
      startedAt: job.processedOn,
      finishedAt: job.finishedOn,
    };
  }

  async document(queue: string, id: string): Promise<string | undefined> {
    const { markdown } = ((await this.job(queue, id))?.result ?? {}) as { markdown?: unknown };
    return typeof markdown === 'string' ? markdown : undefined;
  }

  async queues(): Promise<QueueCounts[]> {
    const names = await this.#call(this.#queueNames(), 'listing queues');
    return Promise.all(
      names.map(async (queue) => ({
        queue,
        counts: await this.#call(this.#queue(queue).getJobCounts(), 'counting jobs'),
      })),
    );
  }

  async close(): Promise<void> {
    await Promise.allSettled(
      [...this.#queues.values()].map((queue) => within(queue.close(), CALL_MS, 'closing')),
    );
    this.#client.disconnect();
  }

  #queue(name: string): Queue {
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const queue = new Queue(name, {
      connection: this.#client as ConnectionOptions,
      prefix: this.#prefix,
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

  /** BullMQ keeps no list of queues; each has a `meta` key. */
  async #queueNames(): Promise<string[]> {
    const names = new Set<string>();
    const head = `${this.#prefix}:`;
    const nodes =
      'nodes' in this.#client ? (this.#client as Cluster).nodes('master') : [this.#client];
    for (const node of nodes) {
      let cursor = '0';
      do {
        const [next, keys] = await node.scan(cursor, 'MATCH', `${head}*:meta`, 'COUNT', SCAN_COUNT);
        for (const key of keys) names.add(key.slice(head.length, -':meta'.length));
        cursor = next;
      } while (cursor !== '0' && names.size < QUEUES_MAX);
    }
    return [...names].sort();
  }

  /** A late or broken call means that Redis is away; an error reply is passed on as it is. */
  async #call<T>(promise: Promise<T>, operation: string): Promise<T> {
    try {
      return await within(promise, CALL_MS, operation);
    } catch (error) {
      if (error instanceof RedisUnavailableError) throw error;
      if (this.#client.status === 'ready' && isReply(error)) throw error;
      throw new RedisUnavailableError(operation, reasonOf(error), undefined, error);
    }
  }
}

function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

function addressOf(redis: Config['redis']): string {
  if (redis.url !== undefined) return redactRedisUrl(redis.url);
  const nodes = redis.sentinels.length > 0 ? redis.sentinels : redis.clusterNodes;
  return nodes.map(({ host, port }) => `${host}:${port}`).join(', ');
}
