/** Round trip and jitter: a row of PINGs, one after the other, on the connection that is open. */
import { findSlowness } from '../redis/warnings.ts';
import { durationText } from './amounts.ts';
import { fail, type Judged, pass, warn } from './finding.ts';
import type { Check } from './scene.ts';

const PINGS = 20;
const PINGS_DEEP = 200;
/** No more PINGs after this: a slow way is known by then, ms. */
const BUDGET_MS = 3000;
const BUDGET_DEEP_MS = 10_000;
/** In one data centre a round trip takes below 2 ms; from here on throughput suffers, ms. */
const SLOW_MS = 25;
/** A single answer so much later than the usual one is a stall, ms. */
const STALL_MS = 250;

export const latency: Check = {
  name: 'latency',
  label: 'Round trip',
  layer: 'redis',
  deadlineMs: 14_000,
  run: async ({ link, clock, isDeep, loaded }) => {
    if (link === undefined) return [];
    const { client } = link.servers()[0]!;
    const samples: number[] = [];
    const until = clock.now() + (isDeep ? BUDGET_DEEP_MS : BUDGET_MS);
    const pings = isDeep ? PINGS_DEEP : PINGS;
    while (samples.length < pings && clock.now() < until) {
      samples.push(await link.roundTrip(client, clock));
    }
    return [judgeLatency(samples, loaded.config.resilience.pulseTimeoutMs)];
  },
};

/** Pure. `samples` in ms; `pulseTimeoutMs` is when the service takes a server for frozen. */
export function judgeLatency(samples: readonly number[], pulseTimeoutMs: number): Judged {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  const [median, most] = [at(0.5), at(1)];
  const evidence = `median ${durationText(median)}, longest ${durationText(most)}, jitter ${durationText(most - at(0))} over ${samples.length} PINGs`;
  if (most >= pulseTimeoutMs / 2) {
    return fail(
      'Answers take so long that the service would take Redis for frozen',
      evidence,
      `Bring this host nearer to Redis, or raise PULSE_TIMEOUT (now ${pulseTimeoutMs} ms) above twice the longest answer.`,
      'slow',
    );
  }
  if (median >= SLOW_MS) {
    return warn(
      `The way to Redis is slow: ${durationText(median)} for each round trip`,
      evidence,
      'Run the workers in the region and network of Redis. Until then raise CONCURRENCY: each job costs some round trips.',
      // The service has a word for it from a longer round trip on.
      findSlowness(median, false)?.name,
    );
  }
  if (most - median >= STALL_MS) {
    return warn(
      `One answer took ${durationText(most)}, most take ${durationText(median)}`,
      evidence,
      'Look for stalls: SLOWLOG GET, LATENCY DOCTOR, forks for saves (latest_fork_usec), a host with too few CPUs.',
    );
  }
  return pass(`${durationText(median)} for a round trip`, evidence);
}
