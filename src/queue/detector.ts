/**
 * What an error or silence means: whether it is an outage, which condition it tells of, and what the
 * breaker and the outage's record are told of it. Keeps the state that everybody sees.
 */
import type { BreakerState, Trouble } from '../breaker/state.ts';
import type { OutageRecorder } from '../outage/recorder.ts';
import { conditions } from '../redis/condition-catalogue.ts';
import type { Clock } from '../time.ts';
import type { Generation } from './generation.ts';
import type { Ledgers } from './ledgers.ts';
import type { TargetState } from './target.ts';
import { conditionIn, type Watch } from './watch.ts';

export interface DetectorDeps {
  clock: Clock;
  ledgers: Ledgers;
  outages: OutageRecorder;
  watch: Pick<Watch, 'answeredAt' | 'roundTripMs'>;
  /** The connections of now, admitted or in recovery. */
  generation(): Generation | undefined;
  wasEverClosed(): boolean;
  /** Tells the breaker. */
  failure(trouble: Trouble): void;
  /** Tells the breaker that what it took for `from` is another trouble. */
  renamed(from: string, trouble: Trouble): void;
}

/** A blocking read may be late by this much before its socket counts as dead, ms. */
const PATIENCE_MS = 750;
/** Conditions that no event tells of, only the want of an answer. */
const SILENT: ReadonlySet<string> = new Set(['frozen', 'half-open', 'timeout']);

export class Detector {
  readonly #deps: DetectorDeps;
  readonly #listeners = new Set<(state: TargetState) => void>();
  #state: TargetState;
  /** Of the error that the breaker is being told of. */
  #text: string | undefined;

  constructor(deps: DetectorDeps) {
    this.#deps = deps;
    this.#state = {
      breaker: 'open',
      condition: 'connecting',
      outageId: undefined,
      since: deps.clock.wall(),
    };
  }

  get state(): TargetState {
    return this.#state;
  }

  on(listener: (state: TargetState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Milliseconds beyond its block that a blocking read may take. */
  get patienceMs(): number {
    return Math.max(PATIENCE_MS, 3 * this.#deps.watch.roundTripMs);
  }

  /** True when the error is an outage; the breaker has been told. `isOwnVerdict`: of the pulse. */
  isOutage(error: unknown, generation: Generation, isOwnVerdict = false): boolean {
    const { clock, watch, outages, failure } = this.#deps;
    if (!generation.alive || generation !== this.#deps.generation()) return true;
    const condition = conditionIn(error, true);
    if (condition === undefined) return false;
    const silentMs = clock.now() - watch.answeredAt;
    if (condition === 'half-open' && silentMs > this.patienceMs && !isOwnVerdict) {
      // The other connection is silent too: whether it is the server is told by the next answer.
      void generation.serverTime().then(
        () => this.isOutage(error, generation, true),
        () => undefined,
      );
      return true;
    }
    const isKnown = outages.current !== undefined;
    this.#text = textOf(error);
    failure({ name: condition, pace: conditions[condition].pace });
    if (isKnown) outages.saw(condition, this.#text);
    this.#text = undefined;
    return true;
  }

  /** The server that fell silent answers after all, later than `tookMs`: it is slow, not frozen. */
  late(tookMs: number): void {
    const { renamed, outages } = this.#deps;
    if (this.#state.condition !== 'frozen') return;
    outages.saw('slow', `an answer took more than ${Math.round(tookMs)} ms`);
    renamed('frozen', { name: 'slow', pace: conditions.slow.pace });
  }

  /** What the error of a probe or a recovery means. */
  troubleOf(error: unknown): Trouble {
    const { outages, ledgers, wasEverClosed } = this.#deps;
    const name = conditionIn(error) ?? 'refused';
    // Absent since our start: that is an outage too, and told like one.
    if (wasEverClosed() || outages.current) outages.saw(name, textOf(error));
    else outages.opened(name, ledgers.heldCount(), 0, textOf(error));
    return { name, pace: conditions[name].pace };
  }

  /** The breaker moved. */
  moved(from: BreakerState, to: BreakerState): void {
    const { clock, watch, outages, ledgers } = this.#deps;
    const condition = to.state === 'closed' ? undefined : to.trouble.name;
    if (from.state === 'closed' && condition !== undefined) {
      const silentMs = SILENT.has(condition) ? clock.now() - watch.answeredAt : 0;
      outages.opened(condition, ledgers.heldCount(), silentMs, this.#text);
    }
    const breaker = to.state === 'recovering' ? 'half-open' : to.state;
    // Half-open and another reason are moments of one outage.
    const changed = (breaker === 'closed') !== (this.#state.breaker === 'closed');
    this.#state = {
      breaker,
      condition,
      outageId: outages.current?.id,
      since: changed ? clock.wall() : this.#state.since,
    };
    for (const listener of this.#listeners) listener(this.#state);
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
