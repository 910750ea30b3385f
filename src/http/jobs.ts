/**
 * The jobs API: producers add jobs, and ask how they are. 202 means kept, in Redis or in the
 * journal, never "will be tried": what cannot be kept is refused with a reason.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { InvalidInputError, JobNotFoundError, RedisUnavailableError } from '../errors.ts';
import type { Accepted } from '../queue/client.ts';
import { assertQueueName } from '../queue/queue-name.ts';
import type { HttpContext } from './context.ts';
import { within } from './deadline.ts';
import { IdempotencyMemory } from './idempotency.ts';
import { idOfIdempotencyKey, type JobInput, readBody } from './job-input.ts';
import { assertKnownQueue } from './queue-names.ts';

/** A read that Redis has not answered by then is answered as "Redis is away". */
export const READ_WITHIN_MS = 5000;

/** Adding must not wait for what is only a look. */
const KNOWN_WITHIN_MS = 1000;

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
          : await answered.once(queue, key, jobs, () =>
              addOnce(context, queue, withIds(queue, jobs, key, isBatch), isBatch),
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

function keyOf({ headers }: FastifyRequest): string | undefined {
  const key = headers['idempotency-key'];
  if (!Array.isArray(key)) return key;
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

/** Adds what is not known already: another replica, or an earlier life of this one, may have it. */
async function addOnce(
  context: HttpContext,
  queue: string,
  jobs: JobInput[],
  isBatch: boolean,
): Promise<Accepted[]> {
  const [first] = jobs as [JobInput];
  // A batch is kept in order: when the last is known, all are.
  const known = await Promise.all(
    (isBatch ? [first, jobs.at(-1)!] : [first]).map((job) =>
      whereKept(context, queue, job.options.jobId!),
    ),
  );
  const stored = known.at(-1);
  if (stored !== undefined && known[0] !== undefined) {
    return jobs.map((job) => ({ id: job.options.jobId!, stored }));
  }
  return add(context, queue, jobs, isBatch);
}

/** Undefined also when nobody can say now: then the id keeps Redis from taking it twice. */
async function whereKept(
  { client }: HttpContext,
  queue: string,
  id: string,
): Promise<Accepted['stored'] | undefined> {
  try {
    const job = await within(client.job(queue, id), KNOWN_WITHIN_MS, 'looking for the job');
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
