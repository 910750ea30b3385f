/**
 * Who may go on, and when: everybody waits here while the breaker is not closed; those who take work
 * also wait for the fleet's barrier, for their share of the slow start, and until a queue that is set aside was
 * taken back. Nobody polls while an outage lasts.
 */
import { allowedConcurrency } from '../breaker/slow-start.ts';
import type { Clock, Instant } from '../time.ts';
import { untilOver } from './asides.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';

/** While the barrier stands or the ramp is full, it is looked at again after this time, ms. */
const LOOK_AGAIN_MS = 20;

export class Admission {
  readonly #clock: Clock;
  readonly #slowStartMs: number;
  readonly #barrierStands: (ledger: QueueLedger, generation: Generation) => Promise<boolean>;
  #generation: Generation | undefined;
  #admittedAt: Instant = Number.NEGATIVE_INFINITY;
  /** True after an outage; a first start needs no ramp. */
  #ramping = false;
  readonly #waiting = new Set<(generation: Generation | undefined) => void>();
  everOpen = false;

  constructor(
    clock: Clock,
    slowStartMs: number,
    barrierStands: (ledger: QueueLedger, generation: Generation) => Promise<boolean>,
  ) {
    this.#clock = clock;
    this.#slowStartMs = slowStartMs;
    this.#barrierStands = barrierStands;
  }

  get generation(): Generation | undefined {
    return this.#generation;
  }

  /** The breaker is closed: lets everybody go on. */
  admit(generation: Generation): void {
    this.#generation = generation;
    this.#admittedAt = this.#clock.now();
    this.#ramping = this.everOpen;
    this.everOpen = true;
    for (const go of [...this.#waiting]) go(generation);
    this.#waiting.clear();
  }

  /** The breaker opened: nobody goes on. */
  hold(): void {
    this.#generation = undefined;
  }

  async admitted(signal: AbortSignal): Promise<Generation | undefined> {
    if (signal.aborted) return undefined;
    if (this.#generation) return this.#generation;
    return await new Promise((resolve) => {
      const go = (generation: Generation | undefined) => {
        this.#waiting.delete(go);
        signal.removeEventListener('abort', giveUp);
        resolve(generation);
      };
      const giveUp = () => go(undefined);
      signal.addEventListener('abort', giveUp, { once: true });
      this.#waiting.add(go);
    });
  }

  async admittedToTake(ledger: QueueLedger, signal: AbortSignal): Promise<Generation | undefined> {
    for (;;) {
      const generation = await this.admitted(signal);
      if (!generation) return undefined;
      if (this.mayTake(ledger)) return generation;
      if (ledger.aside) {
        await untilOver(ledger.aside, signal);
        continue;
      }
      if (
        ledger.barrierUntil > this.#clock.now() &&
        !(await this.#barrierStands(ledger, generation))
      ) {
        ledger.barrierUntil = 0;
        continue;
      }
      await this.#pause(LOOK_AGAIN_MS, signal);
    }
  }

  /** A settle brings no job along behind a barrier or a limit; a ramp is not exceeded by it. */
  mayFetchWithSettle(ledger: QueueLedger): boolean {
    return (
      ledger.slotsMax === undefined &&
      ledger.aside === undefined &&
      ledger.barrierUntil <= this.#clock.now() &&
      this.#generation !== undefined
    );
  }

  /** Jobs that one queue may run here at the same time now; shows the slow start. */
  allowed(ledger: QueueLedger): number {
    if (ledger.aside) return 0;
    const elapsed = this.#clock.now() - this.#admittedAt;
    if (!this.#ramping || elapsed >= this.#slowStartMs) {
      this.#ramping = false;
      return ledger.concurrency;
    }
    return allowedConcurrency(ledger.concurrency, elapsed, this.#slowStartMs);
  }

  mayTake(ledger: QueueLedger): boolean {
    if (ledger.aside) return false;
    if (!this.#generation || ledger.barrierUntil > this.#clock.now()) return false;
    if (ledger.slotsMax !== undefined && ledger.held.size >= ledger.slotsMax) return false;
    return !this.#ramping || ledger.concurrency === 0 || ledger.held.size < this.allowed(ledger);
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(ms, done);
      function done() {
        signal.removeEventListener('abort', giveUp);
        resolve();
      }
      function giveUp() {
        cancel();
        resolve();
      }
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }
}
