/**
 * Keeps the keys of numbered series alive. The prelude that counts (`lua/fence.ts`) renews a key once in
 * many adds; where little is added that would leave it the rest of its first week, and a key that is gone
 * says that Redis has nothing of its series.
 */
import type { Clock, Instant } from '../time.ts';
import type { Generation } from './generation.ts';
import { NUMBER_SECONDS } from './lua/fence.ts';

/** A key that is in use is renewed this often, ms: so it lives for a week, less an hour, from its last use. */
export const RENEW_MS = 3_600_000;
/** For so long after its use a number is surely known, ms; the second hour is for clocks that differ. */
export const NUMBER_LIVES_MS = NUMBER_SECONDS * 1000 - 2 * RENEW_MS;
/** Keys whose renewal is remembered; beyond that all are renewed once more. */
const KEYS_MAX = 10_000;

/** Failing is harmless: the next outage's end, or the next hour, renews it. */
export function renew(generation: Generation, key: string): void {
  generation.client.expire(key, NUMBER_SECONDS).catch(() => undefined);
}

/** Of many series, when each was renewed on this generation. */
export class Renewals {
  readonly #clock: Pick<Clock, 'now'>;
  #generation: Generation | undefined;
  readonly #renewedAt = new Map<string, Instant>();

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** The key is in use. */
  keep(generation: Generation, key: string): void {
    if (generation !== this.#generation || this.#renewedAt.size >= KEYS_MAX) {
      this.#generation = generation;
      this.#renewedAt.clear();
    }
    const now = this.#clock.now();
    const last = this.#renewedAt.get(key);
    if (last !== undefined && now - last < RENEW_MS) return;
    this.#renewedAt.set(key, now);
    renew(generation, key);
  }
}
