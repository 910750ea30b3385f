/**
 * Jobs straight through Redis, for a machine where no service runs: plain BullMQ with a deadline on
 * every call. There is no journal here: while Redis is away nothing can be added.
 */
import type { Config } from '../config.ts';
import type { JobInput } from '../http/job-input.ts';
import type { Accepted, JobView } from '../queue/client.ts';
import { type FleetView, readFleet } from '../queue/fleet-view.ts';
import { viewOf } from '../queue/job-view.ts';
import { addStraight } from './redis-adds.ts';
import { RedisLink } from './redis-link.ts';
import type { QueueCounts, Route } from './route.ts';

export class RedisRoute implements Route {
  readonly name: string;
  readonly #link: RedisLink;

  constructor(redis: Config['redis']) {
    this.#link = new RedisLink(redis);
    this.name = this.#link.name;
  }

  /** Resolves when Redis answers. @throws RedisUnavailableError with the condition and its remedy */
  async connect(): Promise<void> {
    await this.#link.connect();
  }

  enqueue(queue: string, jobs: readonly JobInput[]): Promise<Accepted[]> {
    return addStraight(this.#link, queue, jobs);
  }

  async job(queue: string, id: string): Promise<JobView | undefined> {
    const q = this.#link.queue(queue);
    // The state first: read the other way round, a job that ends in between would be "completed"
    // without its result.
    const state = await this.#link.call(q.getJobState(id), 'reading the job');
    const job = await this.#link.call(q.getJob(id), 'reading the job');
    if (job === undefined) return undefined;
    return viewOf(queue, job, state);
  }

  async document(queue: string, id: string): Promise<string | undefined> {
    const { markdown } = ((await this.job(queue, id))?.result ?? {}) as { markdown?: unknown };
    return typeof markdown === 'string' ? markdown : undefined;
  }

  async queues(): Promise<QueueCounts[]> {
    const names = await this.#link.queueNames();
    return Promise.all(
      names.map(async (queue) => {
        const q = this.#link.queue(queue);
        const reading = Promise.all([q.getJobCounts(), q.isPaused()]);
        const [counts, isPaused] = await this.#link.call(reading, 'counting the jobs');
        return { queue, counts, isPaused };
      }),
    );
  }

  get unlisted(): string | undefined {
    return this.#link.unlisted;
  }

  async replicas(): Promise<FleetView> {
    const { client, prefix } = this.#link;
    const reading = readFleet(client, prefix);
    return {
      replicas: await this.#link.call(reading, 'listing the replicas'),
      isComplete: true,
    };
  }

  async close(): Promise<void> {
    await this.#link.close();
  }
}
