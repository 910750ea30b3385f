/** Settings that are right one by one and wrong together. Pure. */
import { misread } from './config-hints.ts';
import type { ConfigProblem } from './errors.ts';
import { redactRedisUrl } from './redis/address.ts';

/** One way to Redis, and an address that can be one. */
export function checkRedis(values: Record<string, unknown>, problems: ConfigProblem[]): void {
  const url = values.REDIS_URL as string | undefined;
  const ways = ['REDIS_URL', 'REDIS_SENTINELS', 'REDIS_CLUSTER_NODES'].filter(
    (name) => values[name] !== undefined,
  );
  if (ways.length > 1) {
    problems.push({ where: ways.join(' and '), value: 'both set', allowed: 'set one of them' });
  }
  if (url !== undefined) {
    const wrong = misread(url);
    if (wrong) problems.push({ where: 'REDIS_URL', value: redactRedisUrl(url), allowed: wrong });
  }
  if (values.REDIS_SENTINELS !== undefined && values.REDIS_SENTINEL_NAME === undefined) {
    problems.push({
      where: 'REDIS_SENTINEL_NAME',
      value: 'not set',
      allowed: 'name the master that the Sentinels watch',
    });
  }
  if (ways.length === 0 && values.NODE_ENV === 'production') {
    problems.push({
      where: 'REDIS_URL',
      value: 'not set',
      allowed: 'production needs a Redis: set REDIS_URL (or REDIS_SENTINELS, REDIS_CLUSTER_NODES)',
    });
  }
}

/** A smaller right without the one that includes it would lock everybody out of the rest. */
export function checkTokens(values: Record<string, unknown>, problems: ConfigProblem[]): void {
  const names = ['HTTP_TOKEN', 'HTTP_WRITE_TOKEN', 'HTTP_READ_TOKEN'];
  const given = names.filter((name) => values[name] !== undefined);
  if (given.length > 0 && given[0] !== 'HTTP_TOKEN') {
    const allowed = `set HTTP_TOKEN as well: with only ${given.join(' and ')} nobody could administer`;
    problems.push({ where: 'HTTP_TOKEN', value: 'not set', allowed });
  }
  if (new Set(given.map((name) => values[name])).size < given.length) {
    const allowed = 'give each scope a token of its own';
    problems.push({ where: given.join(', '), value: 'two are the same', allowed });
  }
}

/** The fleet's pause lies between the two. */
export function checkPauses(values: Record<string, unknown>, problems: ConfigProblem[]): void {
  const [min, max] = [values.BACKOFF_CAP_MIN, values.BACKOFF_CAP_MAX] as (number | undefined)[];
  if (min === undefined || max === undefined || min <= max) return;
  problems.push({
    where: 'BACKOFF_CAP_MIN and BACKOFF_CAP_MAX',
    value: `${min} ms and ${max} ms`,
    allowed: 'the longest pause of a small fleet must not be above that of any fleet',
  });
}
