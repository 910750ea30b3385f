/**
 * How the commands of an operator reach a queue: straight through Redis, with plain BullMQ, so that they
 * work with every queue of the prefix and without a service. A queue that does not exist is refused: a
 * misspelt name must not look paused or emptied.
 */
import type { JobType, Queue } from 'bullmq';
import type { Config } from '../config.ts';
import { HoldfastError, NothingReachableError } from '../errors.ts';
import { nearestName } from '../http/queue-names.ts';
import { assertQueueName } from '../queue/queue-name.ts';
import { redisOf } from './find-route.ts';
import type { RedisLink } from './redis-link.ts';

/** In the order of a job's life. */
export const JOB_STATES = [
  'waiting',
  'prioritized',
  'active',
  'delayed',
  'waiting-children',
  'completed',
  'failed',
] as const satisfies readonly JobType[];

export interface QueueHandle {
  link: RedisLink;
  queue: Queue;
  counts: Record<string, number>;
}

/** A connection to the Redis of this configuration, closed after `act`. */
export async function onRedis<T>(config: Config, act: (link: RedisLink) => Promise<T>): Promise<T> {
  const redis = redisOf(config);
  if (redis === undefined) {
    throw new NothingReachableError([
      `REDIS_URL: not set; ${config.dataDir}/redis.json: no embedded Redis runs`,
    ]);
  }
  // Only now: BullMQ takes longer to load than everything else that a command does.
  const { RedisLink: Link } = await import('./redis-link.ts');
  const link = new Link(redis);
  try {
    await link.connect();
    return await act(link);
  } finally {
    await link.close();
  }
}

/** As `onRedis`, with a queue that exists. @throws HoldfastError when it does not */
export async function onQueue<T>(
  config: Config,
  name: string,
  act: (handle: QueueHandle) => Promise<T>,
): Promise<T> {
  assertQueueName(name);
  return await onRedis(config, async (link) => {
    const queue = link.queue(name);
    const meta = link.client.exists(`${link.prefix}:${name}:meta`);
    const looking = Promise.all([queue.getJobCounts(...JOB_STATES), meta]);
    const [counts, hasMeta] = await link.call(looking, 'looking at the queue');
    const jobs = Object.values(counts).reduce((sum, count) => sum + count, 0);
    if (jobs === 0 && hasMeta === 0) throw await noSuchQueue(link, name);
    return await act({ link, queue, counts });
  });
}

async function noSuchQueue(link: RedisLink, name: string): Promise<HoldfastError> {
  const known = await link.queueNames();
  const nearest = nearestName(name, known);
  const list = known.length === 0 ? 'none' : known.join(', ');
  return new HoldfastError(
    'HOLDFAST_QUEUE_UNKNOWN',
    `${link.name} has no queue "${name}" with the prefix "${link.prefix}" (it has: ${list}).`,
    nearest === undefined
      ? 'A queue begins with its first job or its first worker.'
      : `Did you mean "${nearest}"?`,
    { data: { queue: name, known, nearest } },
  );
}
