/**
 * The way to a job that somebody waits for: a service may come back on another port, or not at all while
 * Redis itself has the job. Where the route leads nowhere any more, it is found again.
 */
import { HoldfastError, RedisUnavailableError } from '../errors.ts';
import type { JobView } from '../queue/client.ts';
import { HttpRoute } from './http-route.ts';
import type { Route } from './route.ts';

/** No service answers: also a replica that is stopping, and a proxy in front without one behind it. */
const AWAY_CODES = new Set(['HOLDFAST_NOTHING_REACHABLE', 'HOLDFAST_SERVICE_BUSY']);

/** Whether no service stands at the address now. */
export function isServiceAway(error: unknown): boolean {
  return error instanceof HoldfastError && AWAY_CODES.has(error.code);
}

export class FollowedRoute implements Pick<Route, 'job' | 'document' | 'close'> {
  #route: Route;
  readonly #find: (() => Promise<Route>) | undefined;
  readonly #isInRedis: boolean;

  /**
   * Owns `route`. `find`: undefined when a person named the one service to ask. `isInRedis`: the job was,
   * so that nobody else's journal can have it.
   */
  constructor(route: Route, find: (() => Promise<Route>) | undefined, isInRedis: boolean) {
    this.#route = route;
    this.#find = find;
    this.#isInRedis = isInRedis;
  }

  get name(): string {
    return this.#route.name;
  }

  async job(queue: string, id: string): Promise<JobView | undefined> {
    try {
      return await this.#route.job(queue, id);
    } catch (error) {
      const other = this.#leadsNowhere(error)
        ? await this.#find?.().catch(() => undefined)
        : undefined;
      if (other === undefined) throw error;
      return await this.#ask(other, queue, id, error);
    }
  }

  document(queue: string, id: string): Promise<string | undefined> {
    return this.#route.document(queue, id);
  }

  close(): Promise<void> {
    return this.#route.close();
  }

  /** Takes to the `other` route if it knows of the job. @throws `away` if it does not */
  async #ask(other: Route, queue: string, id: string, away: unknown): Promise<JobView | undefined> {
    let left = other;
    try {
      const job = await other.job(queue, id);
      // What a service keeps in its journal nobody else knows of: that says nothing of the job.
      if (job === undefined && !this.#isInRedis) throw away;
      left = this.#route;
      this.#route = other;
      return job;
    } finally {
      await left.close();
    }
  }

  /** A service that says that Redis is away is there; of Redis itself, another may have taken its place. */
  #leadsNowhere(error: unknown): boolean {
    return (
      isServiceAway(error) ||
      (error instanceof RedisUnavailableError && !(this.#route instanceof HttpRoute))
    );
  }
}
