/**
 * The outages of the last 24 hours for the status page, from this replica's records on disk. Read again
 * when the breaker changes and from time to time, however many watch; works while Redis is away.
 */
import { fateOf, type StoredOutage } from '../outage/archive.ts';
import { mainCondition } from '../outage/post-mortem.ts';
import { describeCondition } from '../redis/condition-catalogue.ts';
import type { HttpContext } from './context.ts';

/** An outage as the timeline shows it; times in ms since the epoch. */
export interface OutageView {
  id: string;
  /** What the replicas agreed on after it. */
  fleetId: string | undefined;
  startedAt: number;
  /** Absent while it goes on. */
  endedAt: number | undefined;
  /** What lasted longest in it. */
  condition: string;
  meaning: string;
}

/** How far back the timeline goes, ms. */
const BACK_MS = 24 * 60 * 60_000;
/** Another process may have written records into the folder, ms. */
const FRESH_MS = 10_000;
/** More bars than this nobody can tell apart. */
const OUTAGES_MAX = 200;

export class OutageTimeline {
  readonly #context: Pick<HttpContext, 'outages' | 'target'>;
  #views: OutageView[] = [];
  #readAt = Number.NEGATIVE_INFINITY;
  #readFor: string | undefined;

  constructor(context: Pick<HttpContext, 'outages' | 'target'>) {
    this.#context = context;
  }

  /** Oldest first, the present one last. */
  async read(): Promise<readonly OutageView[]> {
    const { breaker, outageId } = this.#context.target.state();
    const seen = breaker === 'closed' ? 'closed' : `${outageId}`;
    if (seen === this.#readFor && performance.now() - this.#readAt < FRESH_MS) return this.#views;
    const now = Date.now();
    this.#readAt = performance.now();
    const stored = await this.#context.outages();
    this.#views = stored
      .filter(({ startedAt, endedAt }) => (endedAt ?? startedAt) > now - BACK_MS)
      .slice(0, OUTAGES_MAX)
      .map((outage) => viewOf(outage, now))
      .reverse();
    const isThere = seen === 'closed' || this.#views.some(({ id }) => id === outageId);
    const hasOpen = this.#views.some(({ endedAt }) => endedAt === undefined);
    // Its record is on its way to the disk: look again at the next time.
    this.#readFor = isThere && hasOpen === (seen !== 'closed') ? seen : undefined;
    return this.#views;
  }
}

function viewOf(outage: StoredOutage, now: number): OutageView {
  const { id, fleetId, startedAt, endedAt, stoppedAt, updatedAt } = outage;
  const condition = mainCondition([outage], now);
  return {
    id,
    fleetId,
    startedAt,
    endedAt: fateOf(outage, now) === 'open' ? undefined : (endedAt ?? stoppedAt ?? updatedAt),
    condition,
    meaning: describeCondition(condition).meaning,
  };
}
