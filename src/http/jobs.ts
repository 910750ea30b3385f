/**
 * The jobs API: producers add jobs, and ask how they are. 202 means kept, in Redis or in the
 * journal, never "will be tried": what cannot be kept is refused with a reason.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { InvalidInputError, JobNotFoundError, RedisUnavailableError } from '../errors.ts';
import type { HttpContext } from './context.ts';
import { within } from './deadline.ts';
import { idOfIdempotencyKey, type JobInput, readBody } from './job-input.ts';
import { assertKnownQueue, assertUsableQueueName } from './queue-names.ts';

/** A read that Redis has not answered by then is answered as "Redis is away". */
export const READ_WITHIN_MS = 5000;

export interface JobParams {
  queue: string;
  id: string;
}

interface PostQuery {
  unknown?: string | string[];
}

export function registerJobs(app: FastifyInstance, context: HttpContext): void {
  app.post<{ Params: { queue: string }; Querystring: PostQuery }>(
    '/v1/queues/:queue/jobs',
    async (request, reply) => {
      const { queue } = request.params;
      const known = context.consumption().queues.map((q) => q.queue);
      assertKnownQueue(queue, known, allowsUnknown(request.query));
      const { isBatch, jobs } = readBody(queue, request.body, context.config.jobBytesMax);
      const accepted = await add(context, queue, withIds(queue, jobs, request, isBatch), isBatch);
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
  assertUsableQueueName(queue);
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

/** A job's own `jobId` says more than the key of the request, and wins. */
function withIds(
  queue: string,
  jobs: JobInput[],
  request: FastifyRequest,
  isBatch: boolean,
): JobInput[] {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return jobs;
  if (Array.isArray(key)) {
    throw new InvalidInputError('Idempotency-Key', 'was sent twice', 'Send one.');
  }
  return jobs.map((job, index) => ({
    ...job,
    options: {
      ...job.options,
      jobId: job.options.jobId ?? idOfIdempotencyKey(queue, key, isBatch ? index : undefined),
    },
  }));
}

async function add({ client }: HttpContext, queue: string, jobs: JobInput[], isBatch: boolean) {
  if (isBatch) return client.enqueueMany(queue, jobs);
  const [{ name, data, options }] = jobs as [JobInput];
  return [await client.enqueue(queue, name, data, options)];
}

/** Counts are null while Redis is away: unknown is not zero. */
async function withCounts(context: HttpContext, consumption: { queue: string }) {
  try {
    const reading = context.client.counts(consumption.queue);
    return { ...consumption, counts: await within(reading, READ_WITHIN_MS, 'counting jobs') };
  } catch (error) {
    if (!(error instanceof RedisUnavailableError)) throw error;
    return { ...consumption, counts: null };
  }
}
