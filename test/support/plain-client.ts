/**
 * A producer over plain BullMQ, for tests of what stands above the client: real jobs in a real
 * Redis, and a switch that makes every call fail as it would in an outage.
 */
import { type JobsOptions, Queue } from 'bullmq';
import { v7 as uuid } from 'uuid';
import type { HoldfastError } from '../../src/errors.ts';
import type { Client, JobView } from '../../src/queue/client.ts';
import { viewOf } from '../../src/queue/job-view.ts';

export interface PlainClient extends Client {
  /** Every call rejects with this error until it is set to undefined. */
  failure: HoldfastError | undefined;
}

export function plainClient(url: string): PlainClient {
  const queues = new Map<string, Queue>();
  const queueOf = (name: string): Queue => {
    if (client.failure !== undefined) throw client.failure;
    const known = queues.get(name);
    if (known !== undefined) return known;
    const queue = new Queue(name, { connection: { url } });
    queue.on('error', () => {});
    queues.set(name, queue);
    return queue;
  };
  const client: PlainClient = {
    failure: undefined,
    async enqueue(queue: unknown, name: unknown, data: unknown, options: JobsOptions = {}) {
      const job = await queueOf(String(queue)).add(String(name), data, {
        jobId: uuid(),
        ...options,
      });
      return { id: job.id!, stored: 'redis' as const };
    },
    queue: queueOf,
    async enqueueMany(queue, jobs) {
      const added = await queueOf(queue).addBulk(
        jobs.map(({ name, data, options }) => ({
          name,
          data,
          opts: { jobId: uuid(), ...options },
        })),
      );
      return added.map((job) => ({ id: job.id!, stored: 'redis' as const }));
    },
    flow: () => Promise.reject(new Error('Flows are not part of these tests.')),
    async job(queue, id): Promise<JobView | undefined> {
      // The state first: otherwise a job that ends in between has a state without its result.
      const state = await queueOf(queue).getJobState(id);
      const job = await queueOf(queue).getJob(id);
      if (job === undefined) return undefined;
      return viewOf(queue, job, state);
    },
    counts: async (queue) => queueOf(queue).getJobCounts(),
    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
      return { jobs: 0, refused: 0, path: undefined };
    },
  };
  return client;
}
