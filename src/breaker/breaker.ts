/**
 * Runs the breaker: holds its state, feeds it what happens, carries out what it decides. The only
 * place with a timer, and the only one that knows that probing takes time.
 */
import type { Clock, Instant, Random } from '../time.ts';
import { type BackoffOptions, probeDelay } from './backoff.ts';
import {
  type BreakerEffect,
  type BreakerEvent,
  type BreakerState,
  initialState,
  type Trouble,
  transition,
} from './state.ts';

export interface BreakerOptions {
  clock: Clock;
  random: Random;
  backoff: BackoffOptions;
  /** Replicas of the fleet, as known before the outage. */
  replicas(): number;
  /** One try of the real thing. @throws what went wrong */
  probe(signal: AbortSignal): Promise<void>;
  /** Takes back what is ours. @throws what went wrong */
  recover(): Promise<void>;
  /** What an error of a probe or a recovery means. */
  troubleOf(error: unknown): Trouble;
  /** Ends every connection of the present generation, at once. */
  endConnections(): void;
  /** The breaker closed: everybody may go on. */
  admit(): void;
  onTransition(from: BreakerState, to: BreakerState): void;
}

/** A breaker that stayed closed for so long has no past; flapping is quicker, ms. */
const PROVEN_AFTER_MS = 5000;

export class Breaker {
  readonly #options: BreakerOptions;
  #state: BreakerState = initialState;
  #cancelTimer: (() => void) | undefined;
  /** Ends the probe under way; a probe that comes back after its end says nothing. */
  #probing: AbortController | undefined;
  /** When the last probe after a pause began, monotonic ms. The one at the start may be the whole fleet's. */
  #triedAt: Instant = Number.NEGATIVE_INFINITY;
  /** Counts recoveries: one that an outage cut off says nothing when it comes to its end. */
  #recovery = 0;
  #started = false;
  #stopped = false;
  /** What came in while effects were being carried out; each event is dealt with whole. */
  readonly #inbox: BreakerEvent[] = [];
  #isFeeding = false;

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  get state(): BreakerState {
    return this.#state;
  }

  /** Begins with a probe at once. */
  start(): void {
    if (this.#started || this.#stopped) return;
    this.#started = true;
    this.#feed({ type: 'probe-due' });
  }

  /** Idempotent, allowed before `start`: no timer, no probe is left. */
  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#probing?.abort();
  }

  /** Something went wrong on a connection of ours. */
  failure(trouble: Trouble): void {
    this.#feed({ type: 'failure', trouble });
  }

  /** The outage that was taken for `from` turned out to be another; no probe is moved by that. */
  renamed(from: string, trouble: Trouble): void {
    this.#feed({ type: 'renamed', from, trouble });
  }

  /** An operator opens the breaker by hand; it stays open until `release`. */
  isolate(trouble: Trouble): void {
    this.#feed({ type: 'isolate', trouble });
  }

  release(): void {
    this.#feed({ type: 'release' });
  }

  #feed(event: BreakerEvent): void {
    this.#inbox.push(event);
    if (this.#isFeeding) return;
    this.#isFeeding = true;
    try {
      for (let next = this.#inbox.shift(); next; next = this.#inbox.shift()) this.#step(next);
    } finally {
      this.#isFeeding = false;
    }
  }

  #step(event: BreakerEvent): void {
    if (this.#stopped) return;
    const before = this.#state;
    const { state, effects } = transition(before, event);
    this.#state = state;
    const isRenamed = event.type === 'renamed' && state !== before;
    if (state.state !== before.state || isRenamed) this.#options.onTransition(before, state);
    for (const effect of effects) {
      if (this.#stopped) return;
      this.#carryOut(effect);
    }
  }

  #carryOut(effect: BreakerEffect): void {
    const { clock, backoff, replicas, random, endConnections, admit } = this.#options;
    switch (effect.type) {
      case 'end-connections':
        endConnections();
        break;
      case 'schedule-probe':
        this.#cancelTimer?.();
        this.#cancelTimer = clock.after(
          probeDelay(
            { ...effect, sinceLastMs: clock.now() - this.#triedAt },
            replicas(),
            backoff,
            random,
          ),
          () => {
            this.#triedAt = clock.now();
            this.#feed({ type: 'probe-due' });
          },
        );
        break;
      case 'schedule-proof':
        this.#cancelTimer?.();
        this.#cancelTimer = clock.after(PROVEN_AFTER_MS, () => this.#feed({ type: 'proven' }));
        break;
      case 'cancel-probe':
        this.#cancelTimer?.();
        this.#probing?.abort();
        break;
      case 'probe':
        void this.#probe();
        break;
      case 'recover':
        void this.#recover();
        break;
      case 'admit':
        admit();
        break;
    }
  }

  async #probe(): Promise<void> {
    const probing = new AbortController();
    this.#probing = probing;
    let event: BreakerEvent;
    try {
      await this.#options.probe(probing.signal);
      event = { type: 'probe-passed' };
    } catch (error) {
      // A probe that we ended ourselves says nothing about Redis.
      if (probing.signal.aborted) return;
      event = { type: 'probe-failed', trouble: this.#options.troubleOf(error) };
    }
    if (probing.signal.aborted) return;
    this.#probing = undefined;
    this.#feed(event);
  }

  async #recover(): Promise<void> {
    this.#recovery += 1;
    const recovery = this.#recovery;
    let event: BreakerEvent;
    try {
      await this.#options.recover();
      event = { type: 'recovered' };
    } catch (error) {
      if (this.#stopped) return;
      event = { type: 'recovery-failed', trouble: this.#options.troubleOf(error) };
    }
    if (recovery === this.#recovery && this.#state.state === 'recovering') this.#feed(event);
  }
}
