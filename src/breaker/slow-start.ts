/**
 * Slow start: after an outage a queue's concurrency rises over a few seconds, so that a fleet that
 * comes back at once does not throw its whole backlog at whatever its handlers call.
 *
 * The curve is Envoy's (`weight * max(10 %, t / window)`, aggression 1): "Slow start mode", Envoy docs.
 */

/** Share of the concurrency with which the ramp begins: Envoy's default. */
const FLOOR = 0.1;

/** Jobs that may run at the same time, `elapsedMs` after the breaker closed; at least one. */
export function allowedConcurrency(
  concurrency: number,
  elapsedMs: number,
  windowMs: number,
): number {
  if (windowMs <= 0 || elapsedMs >= windowMs) return concurrency;
  const share = Math.max(FLOOR, elapsedMs / windowMs);
  return Math.max(1, Math.ceil(concurrency * share));
}
