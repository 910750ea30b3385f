/** Where a job is, and how it stands: in Redis, or in the journal while only that has it. */
import { RedisUnavailableError } from '../errors.ts';
import type { JobView } from './client.ts';
import { journaledView } from './job-view.ts';
import type { RedisTarget } from './target.ts';

export type LookupTarget = Pick<RedisTarget, 'journal' | 'state' | 'localRun'>;

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
    const entry = await journal.find(queue, id);
    if (entry) return { ...journaledView(entry), ...(await this.#target.localRun(entry)) };
    if (!isAway) return await this.#inRedis(queue, id);
    throw new RedisUnavailableError(
      'looking for a job',
      state.condition ?? 'reset',
      state.outageId,
    );
  }
}
