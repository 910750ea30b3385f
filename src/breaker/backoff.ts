/**
 * How long to wait before the next probe: exponential with full jitter for a small fleet, which comes
 * back in a quarter of a second; spread over the whole fleet's budget for a large one, so that ten
 * thousand replicas do not stampede.
 *
 * Full jitter, `rand(0, min(cap, base * 2^n))`: "Exponential Backoff And Jitter", AWS Architecture Blog.
 * Full jitter alone still begins with a wave: replicas that open at the same moment all try within the
 * base. So the first delay is drawn from the equilibrium distribution of the later ones (density
 * `(1 - F) / mean`, Cox, "Renewal Theory", 1962), which makes the fleet's rate even from its first
 * second on. A server that flaps lets replicas in and throws them out again: the pauses after their last
 * try go on from there, as if it had failed, and the fleet's rate stays what it was; drawn afresh it was
 * 1.4 times the budget (test/simulation).
 */
import type { Random } from '../time.ts';

/** How eagerly a condition is probed; see the condition catalogue. */
export type Pace = 'fast' | 'normal' | 'slow';

export interface BackoffOptions {
  /** First delay at most, ms. */
  baseMs: number;
  /** The cap for a small fleet, ms: the tail of an outage that a user sees. */
  capMinMs: number;
  /** The cap for any fleet, ms. It wins over the budget: that holds up to `capMaxMs * budget` replicas. */
  capMaxMs: number;
  /** Probes per second that the whole fleet may make. */
  attemptBudget: number;
}

/** What wants a resource to be freed is asked about once a second at most, ms. */
const NORMAL_CAP_MS = 1000;
/**
 * Nobody but an operator can mend a slow condition (a wrong password), and trying costs the server:
 * at least this between two probes, ms. Only the first comes sooner, since a password file may have
 * been rotated already.
 */
const SLOW_FLOOR_MS = 2000;
/** Beyond this exponent the cap has long been reached; keeps 2^n finite. */
const EXPONENT_MAX = 20;
/** The budget is a limit for each second, not for the mean: chance needs this much room (3 sigma of
 * 1,000 attempts are 95). */
const ROOM = 1.15;

/** After so many pauses it makes no difference any more when the last try was. */
const FORGOTTEN = 4;

/** Milliseconds between two probes of one replica, in the mean, that keep the fleet within its budget. */
function fleetMean(replicas: number, options: BackoffOptions): number {
  return (ROOM * 1000 * Math.max(1, replicas)) / options.attemptBudget;
}

/** The cap for a fleet, ms: twice the mean pause that the budget asks for, within the bounds. */
export function fleetCap(replicas: number, options: BackoffOptions): number {
  const full = 2 * fleetMean(replicas, options);
  return Math.min(options.capMaxMs, Math.max(options.capMinMs, full));
}

/** The bounds between which a delay is drawn evenly, ms. */
export function delayBounds(
  attempt: number,
  pace: Pace,
  replicas: number,
  options: BackoffOptions,
): { from: number; to: number } {
  const mean = fleetMean(replicas, options);
  const cap = fleetCap(replicas, options);
  // Where the cap is lower than the budget asks, the lower bound rises to keep the mean.
  const from = Math.min(cap, Math.max(0, 2 * mean - cap));
  const grown = Math.max(2 * mean, options.baseMs * 2 ** Math.min(attempt, EXPONENT_MAX));
  switch (pace) {
    case 'fast':
      return { from, to: Math.min(cap, grown) };
    case 'normal':
      return { from, to: Math.min(Math.max(cap, NORMAL_CAP_MS), grown) };
    case 'slow':
      return { from: Math.max(from, SLOW_FLOOR_MS), to: Math.max(cap, 2 * SLOW_FLOOR_MS) };
  }
}

/** The longest pause between two probes of one replica, ms: whoever is alive is back within it. */
export function pauseMax(pace: Pace, replicas: number, options: BackoffOptions): number {
  return delayBounds(EXPONENT_MAX, pace, replicas, options).to;
}

/** Which probe is waited for. */
export interface Try {
  /** 0 is the first of an outage. */
  attempt: number;
  pace: Pace;
  /** The breaker opened just now: maybe with the breakers of the whole fleet. */
  isFirst: boolean;
  /** Since the last try that came after a pause, ms; absent: there was none. */
  sinceLastMs?: number;
}

/** Delay before a probe, ms. */
export function probeDelay(
  { attempt, pace, isFirst, sinceLastMs = Number.POSITIVE_INFINITY }: Try,
  replicas: number,
  options: BackoffOptions,
  random: Random,
): number {
  const { from, to } = delayBounds(attempt, pace, replicas, options);
  const draw = () => from + random() * (to - from);
  if (!isFirst) return draw();
  if (sinceLastMs >= FORGOTTEN * to) return residual(from, to, random());
  let left = -sinceLastMs;
  do left += draw();
  while (left < 0);
  return left;
}

/** The inverse of the equilibrium distribution of an even distribution: what is left to wait when one
 * looks at a random moment. */
function residual(from: number, to: number, chance: number): number {
  const mean = (from + to) / 2;
  if (chance * mean < from) return chance * mean;
  const rest = (chance * mean - from) / (mean - from);
  return to - (to - from) * Math.sqrt(1 - rest);
}
