/** Where a job is, and how it stands: in Redis, or in the journal while only that has it. */
import { RedisUnavailableError } from '../errors.ts';
import type { JobView } from './client.ts';
import { journaledView, viewOf, withChildren } from './job-view.ts';
import type { OwnQueue } from './open-queues.ts';
import type { RedisTarget } from './target.ts';

export type LookupTarget = Pick<RedisTarget, 'journal' | 'journaled' | 'state' | 'localRun'>;

export class JobLookup {
  readonly #target: LookupTarget;
  readonly #inRedis: (queue: string, id: string) => Promise<JobView | undefined>;

  constructor(
    target: LookupTarget,
    inRedis: (queue: string, id: string) => Promise<JobView | undefined>,
  ) {
    this.#target = target;
    this.#inRedis = inRedis;
  }

  /** @throws RedisUnavailableError, JournalError */
  async find(queue: string, id: string): Promise<JobView | undefined> {
    const { journal } = this.#target;
    const state = this.#target.state();
    const isAway = state.breaker !== 'closed' && state.condition !== 'connecting';
    const { jobs, refused } = journal.stats();
    if (jobs + refused === 0 && !isAway) return await this.#inRedis(queue, id);
    // Redis first: it may have the job already, and then knows more.
    const known = isAway ? undefined : await this.#inRedis(queue, id).catch(() => undefined);
    if (known) return known;
    const entry = await this.#target.journaled(queue, id);
    if (entry) return { ...journaledView(entry), ...(await this.#target.localRun(entry)) };
    if (!isAway) return await this.#inRedis(queue, id);
    throw new RedisUnavailableError(
      'looking for a job',
      state.condition ?? 'reset',
      state.outageId,
    );
  }
}

/** A job that Redis has. */
export async function jobOf(queue: OwnQueue, id: string): Promise<JobView | undefined> {
  // The state first: read after the hash, it would show a finished job without its result.
  let state = await queue.getJobState(id);
  if (state === 'unknown') return undefined;
  const job = await queue.getJob(id);
  if (job === undefined) return undefined;
  if (job.finishedOn !== undefined && state === 'active') {
    // It ended between the two questions.
    state = await queue.getJobState(id);
    if (state === 'unknown') return undefined;
  }
  const view = viewOf(queue.name, job, state);
  if (state !== 'waiting-children') return view;
  return withChildren(view, await job.getDependenciesCount());
}
