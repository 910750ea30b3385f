/**
 * The dataset of a Redis in memory, as producers meet it: does what the numbered script does, refuses what
 * it must for good, sleeps, and goes back to an earlier state. Workers run its jobs and remove them.
 */
import type { NumberArgs } from '../../src/queue/fenced-scripts.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** How Redis refuses a job: by BullMQ's code, by an error before the script, by one in its middle. */
export type Refusal = 'code' | 'error' | 'late error';

/** One script that acted: the job, or jobs of one flow, that it added or refused. */
interface Effect {
  key: string;
  number: number;
  queue: string;
  ids: readonly string[];
  isRefused: boolean;
  at: number;
}

/** BullMQ's code for a parent that is not there. */
const MISSING_PARENT = -5;

/** The dataset: what acted, in order; a rollback takes the end of it away. */
export class Dataset {
  effects: Effect[] = [];
  runId = 1;
  isUp = true;
  isFrozen = false;
  latencyMs = 1;
  /** Jobs that Redis refuses for good. */
  readonly refusals = new Map<string, Refusal>();
  /** Jobs that it acknowledged, lost and then refused, of which people were told. */
  readonly toldRefused = new Set<string>();
  /** Ids of jobs that were added anew although a worker had run them, and nothing told the worker. */
  readonly ranTwice: string[] = [];
  readonly #ran = new Set<string>();
  readonly #clock: VirtualClock;
  readonly #inbox: (() => void)[] = [];

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  /**
   * As the prelude does: acts only behind its predecessor.
   * @param isAgain a living worker that ran the job gets it back
   */
  add(
    queue: string,
    ids: readonly string[],
    { key, before, number }: NumberArgs,
    isAgain: boolean,
  ): number | string {
    const [root] = ids as [string];
    const refusal = this.refusals.get(root);
    if (refusal === 'error') throw new Error('ERR refused before the script ran');
    const last = this.last(key);
    if (last !== before) throw new Error(`FENCED number ${last}`);
    const isRefused = refusal !== undefined;
    this.effects.push({ key, number, queue, ids, isRefused, at: this.#clock.now() });
    if (refusal === 'late error') throw new Error('WRONGTYPE in the middle of the script');
    if (isRefused) return MISSING_PARENT;
    if (!isAgain) this.ranTwice.push(...ids.filter((id) => this.#ran.has(id)));
    return root;
  }

  last(key: string): number {
    return this.effects.findLast((effect) => effect.key === key)?.number ?? 0;
  }

  /** As `GET` answers: null for a series of which nothing has acted. */
  get(key: string): string | null {
    const last = this.last(key);
    return last === 0 ? null : `${last}`;
  }

  /** Ids of a queue in the order in which they were added, as often as they were. */
  added(queue: string): string[] {
    return this.effects
      .filter((effect) => effect.queue === queue && !effect.isRefused)
      .flatMap(({ ids }) => ids);
  }

  /** Ids whose refusal stands in the dataset: their script ran, and its answer may be lost. */
  get refused(): ReadonlySet<string> {
    const refused = this.effects.filter(({ isRefused }) => isRefused);
    return new Set(refused.flatMap(({ ids }) => ids));
  }

  /**
   * Workers run what waits and remove it. They survive whatever happens to Redis: what they ran and a
   * rollback brought back is removed again before anybody can take it.
   */
  consume(): void {
    if (!this.isUp || this.isFrozen) return;
    for (const { ids, isRefused } of this.effects) {
      if (!isRefused) for (const id of ids) this.#ran.add(id);
    }
  }

  serve(request: () => void): void {
    if (this.isFrozen) this.#inbox.push(request);
    else if (this.isUp) request();
  }

  thaw(): void {
    this.isFrozen = false;
    for (const request of this.#inbox.splice(0)) request();
  }

  /** Comes back as it was `depthMs` ago. */
  restart(depthMs: number): void {
    this.#inbox.length = 0;
    this.isFrozen = false;
    this.runId += 1;
    const kept = this.#clock.now() - depthMs;
    this.effects = this.effects.filter(({ at }) => at <= kept);
  }
}
