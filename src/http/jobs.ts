/**
 * The jobs API: producers add jobs, and ask how they are. 202 means kept, in Redis or in the
 * journal, never "will be tried": what cannot be kept is refused with a reason.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  InvalidInputError,
  JobNotFoundError,
  OutcomeUnknownError,
  RedisUnavailableError,
} from '../errors.ts';
import type { Accepted } from '../queue/client.ts';
import { assertQueueName } from '../queue/queue-name.ts';
import { within } from '../within.ts';
import type { HttpContext } from './context.ts';
import { IdempotencyMemory } from './idempotency.ts';
import { idOfIdempotencyKey, type JobInput, readBody } from './job-input.ts';
import { assertKnownQueue } from './queue-names.ts';

/** A read that Redis has not answered by then is answered as "Redis is away". */
export const READ_WITHIN_MS = 5000;

/** Adding must not wait for what is only a look: for this part of ENQUEUE_TIMEOUT at most. */
const LOOK_SHARE = 1 / 4;
const LOOK_MS_MAX = 1000;
/** What an enqueue needs that Redis does not answer, ms: it has so long also after a look. */
const ADD_MS_MIN = 200;

export interface JobParams {
  queue: string;
  id: string;
}

interface PostQuery {
  unknown?: string | string[];
}

export function registerJobs(app: FastifyInstance, context: HttpContext): void {
  const answered = new IdempotencyMemory();
  app.post<{ Params: { queue: string }; Querystring: PostQuery }>(
    '/v1/queues/:queue/jobs',
    async (request, reply) => {
      const { queue } = request.params;
      const known = context.consumption().queues.map((q) => q.queue);
      assertKnownQueue(queue, known, allowsUnknown(request.query));
      const { isBatch, jobs } = readBody(queue, request.body, context.config.jobBytesMax);
      const key = keyOf(request);
      const accepted =
        key === undefined
          ? await add(context, queue, jobs, isBatch)
          : await answered.once(queue, key, { isBatch, jobs }, () =>
              addOnce(context, queue, jobs, key, isBatch),
            );
      reply.code(202);
      if (isBatch) return { jobs: accepted };
      const [one] = accepted;
      return reply.header('location', jobPath(queue, one!.id)).send(one);
    },
  );

  app.get<{ Params: JobParams }>('/v1/queues/:queue/jobs/:id', async (request) => {
    const { queue, id } = request.params;
    return findJob(context, queue, id);
  });

  app.get('/v1/queues', async () => {
    const { queues } = context.consumption();
    return { queues: await Promise.all(queues.map((q) => withCounts(context, q))) };
  });
}

/** The job, or a typed error: JobNotFoundError, RedisUnavailableError. */
export async function findJob(context: HttpContext, queue: string, id: string) {
  assertQueueName(queue);
  const job = await within(context.client.job(queue, id), READ_WITHIN_MS, 'reading the job');
  if (job === undefined) throw new JobNotFoundError(queue, id);
  return job;
}

/** Where a job is found. */
export function jobPath(queue: string, id: string): string {
  return `/v1/queues/${encodeURIComponent(queue)}/jobs/${encodeURIComponent(id)}`;
}

function allowsUnknown({ unknown }: PostQuery): boolean {
  if (unknown === undefined) return false;
  if (unknown === 'allow') return true;
  throw new InvalidInputError('?unknown', 'has a value that is not known', 'Use ?unknown=allow.');
}

function keyOf({ raw }: FastifyRequest): string | undefined {
  // In `headers` Node has joined them, with a comma.
  const [key, ...others] = raw.headersDistinct['idempotency-key'] ?? [];
  if (others.length === 0) return key;
  throw new InvalidInputError('Idempotency-Key', 'was sent twice', 'Send one.');
}

/** A job's own `jobId` says more than the key of the request, and wins. */
function withIds(queue: string, jobs: JobInput[], key: string, isBatch: boolean): JobInput[] {
  return jobs.map((job, index) => ({
    ...job,
    options: {
      ...job.options,
      jobId: job.options.jobId ?? idOfIdempotencyKey(queue, key, isBatch ? index : undefined),
    },
  }));
}

/**
 * Adds what is not known already: another replica, or an earlier life of this one, may have it. Takes no longer
 * than ENQUEUE_TIMEOUT in all.
 */
async function addOnce(
  context: HttpContext,
  queue: string,
  given: JobInput[],
  key: string,
  isBatch: boolean,
): Promise<Accepted[]> {
  const { enqueueTimeoutMs } = context.config.resilience;
  const by = performance.now() + enqueueTimeoutMs;
  const jobs = withIds(queue, given, key, isBatch);
  // An id of its own says nothing of the jobs beside it: then each is kept from coming twice by its id alone.
  if (!isBatch || given.every(({ options }) => options.jobId === undefined)) {
    const lookMs = Math.min(LOOK_MS_MAX, enqueueTimeoutMs * LOOK_SHARE);
    // A batch is kept in order: when the first and the last are known, all are.
    const known = await Promise.all(
      [...new Set([jobs[0]!, jobs.at(-1)!])].map(({ options }) =>
        whereKept(context, queue, options.jobId!, lookMs),
      ),
    );
    const stored = known.at(-1);
    if (stored !== undefined && known[0] !== undefined) {
      return jobs.map(({ options }) => ({ id: options.jobId!, stored }));
    }
  }
  const restMs = Math.max(ADD_MS_MIN, by - performance.now());
  return within(add(context, queue, jobs, isBatch), restMs, () => {
    const ids = jobs.map(({ options }) => options.jobId!);
    return new OutcomeUnknownError('Redis and the journal', ids);
  });
}

/** Undefined also when nobody can say now: then the id keeps Redis from taking it twice. */
async function whereKept(
  { client }: HttpContext,
  queue: string,
  id: string,
  timeoutMs: number,
): Promise<Accepted['stored'] | undefined> {
  try {
    const job = await within(client.job(queue, id), timeoutMs, 'looking for the job');
    // What Redis refused may be sent again: what stood in its way may be gone.
    if (job === undefined || job.state === 'refused') return undefined;
    return job.stored;
  } catch {
    return undefined;
  }
}

async function add({ client }: HttpContext, queue: string, jobs: JobInput[], isBatch: boolean) {
  if (isBatch) return client.enqueueMany(queue, jobs);
  const [{ name, data, options }] = jobs as [JobInput];
  return [await client.enqueue(queue, name, data, options)];
}

/** Counts are null while Redis is away: unknown is not zero. */
async function withCounts(context: HttpContext, consumption: { queue: string }) {
  const { breaker, condition } = context.target.state();
  // The reads would wait for an answer that cannot come.
  if (breaker !== 'closed' && condition !== 'connecting') return { ...consumption, counts: null };
  try {
    const { client } = context;
    const { queue } = consumption;
    // First what may throw at once: a rejection that nobody awaits yet would end the process.
    const pausing = client.queue(queue).isPaused();
    const reading = Promise.all([client.counts(queue), pausing]);
    const [counts, isPaused] = await within(reading, READ_WITHIN_MS, 'counting jobs');
    return { ...consumption, isPaused, counts };
  } catch (error) {
    if (!(error instanceof RedisUnavailableError)) throw error;
    return { ...consumption, counts: null };
  }
}
