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
  if (values.REDIS_SENTINEL_NAME !== undefined && values.REDIS_SENTINELS === undefined) {
    problems.push({
      where: 'REDIS_SENTINEL_NAME',
      value: String(values.REDIS_SENTINEL_NAME),
      allowed: 'has no effect without REDIS_SENTINELS, the addresses of the Sentinels',
    });
  }
  checkCluster(values, problems);
  checkTls(values, problems);
  if (ways.length === 0 && values.NODE_ENV === 'production') {
    problems.push({
      where: 'REDIS_URL',
      value: 'not set',
      allowed: 'production needs a Redis: set REDIS_URL (or REDIS_SENTINELS, REDIS_CLUSTER_NODES)',
    });
  }
}

function checkCluster(values: Record<string, unknown>, problems: ConfigProblem[]): void {
  if (values.REDIS_CLUSTER_NODES === undefined) return;
  const db = values.REDIS_DB as number | undefined;
  if (db !== undefined && db !== 0) {
    problems.push({ where: 'REDIS_DB', value: `${db}`, allowed: 'a Cluster has only database 0' });
  }
  const prefix = values.QUEUE_PREFIX as string | undefined;
  if (prefix !== undefined && !/\{[^}]+\}/.test(prefix)) {
    problems.push({
      where: 'QUEUE_PREFIX',
      value: prefix,
      allowed: `a Cluster needs a hash tag, so that the keys of a queue lie on one node: {${prefix}}, for every producer and worker`,
    });
  }
}

/** Certificates that nobody would look at. */
function checkTls(values: Record<string, unknown>, problems: ConfigProblem[]): void {
  const url = values.REDIS_URL as string | undefined;
  if (values.REDIS_TLS === true || url?.startsWith('rediss:')) return;
  const names = ['CA_FILE', 'CERT_FILE', 'KEY_FILE', 'SERVER_NAME'].map((n) => `REDIS_TLS_${n}`);
  for (const where of names.filter((name) => values[name] !== undefined)) {
    problems.push({
      where,
      value: String(values[where]),
      allowed: `has no effect without TLS: ${url === undefined ? 'set REDIS_TLS=true' : 'write REDIS_URL as rediss://'}`,
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
