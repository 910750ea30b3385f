/**
 * How long to wait before the next probe: exponential with full jitter, below a cap that grows with
 * the fleet, so that few replicas come back in a quarter of a second and ten thousand do not stampede.
 *
 * Full jitter, `rand(0, min(cap, base * 2^n))`: "Exponential Backoff And Jitter", AWS Architecture Blog.
 */
import type { Random } from '../time.ts';

/** How eagerly a condition is probed; see the condition catalogue. */
export type Pace = 'fast' | 'normal' | 'slow';

export interface BackoffOptions {
  /** First delay at most, ms. */
  baseMs: number;
  /** The cap for a small fleet, ms: the tail of an outage that a user sees. */
  capMinMs: number;
  /** The cap for any fleet, ms. */
  capMaxMs: number;
  /** Probes per second that the whole fleet may make. */
  attemptBudget: number;
}

/** What wants a resource to be freed is asked about once a second at most, ms. */
const NORMAL_CAP_MS = 1000;
/**
 * Nobody but an operator can mend a slow condition (a wrong password), and trying costs the server:
 * at least this between two probes, ms.
 */
const SLOW_FLOOR_MS = 2000;
/** Beyond this exponent the cap has long been reached; keeps 2^n finite. */
const EXPONENT_MAX = 20;

/**
 * The cap for a fleet, ms: `replicas / attemptBudget` seconds within the configured bounds. A delay
 * is `cap / 2` in the mean, so the cap is twice the mean pause that the budget asks for.
 */
export function fleetCap(replicas: number, options: BackoffOptions): number {
  const perReplicaMs = (2 * Math.max(1, replicas) * 1000) / options.attemptBudget;
  return Math.min(options.capMaxMs, Math.max(options.capMinMs, perReplicaMs));
}

/** Delay in ms before probe number `attempt` (0 is the first after the breaker opened). */
export function probeDelay(
  attempt: number,
  pace: Pace,
  replicas: number,
  options: BackoffOptions,
  random: Random,
): number {
  const cap = fleetCap(replicas, options);
  const grown = options.baseMs * 2 ** Math.min(attempt, EXPONENT_MAX);
  switch (pace) {
    case 'fast':
      return random() * Math.min(cap, grown);
    case 'normal':
      return random() * Math.min(Math.max(cap, NORMAL_CAP_MS), grown);
    case 'slow':
      return SLOW_FLOOR_MS + random() * Math.max(cap, SLOW_FLOOR_MS);
  }
}
