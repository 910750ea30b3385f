/**
 * What people really get wrong in a configuration: things pasted into REDIS_URL that are none, and
 * variables with a name that is nearly one of ours. Pure.
 */
import { distance } from 'fastest-levenshtein';
import { RedisUrlError } from './errors.ts';
import { parseRedisUrl } from './redis/address.ts';
import { CONCURRENCY_PREFIX, queueVariable, settings } from './settings.ts';

/** Why this is no address of a Redis, as advice; undefined when it is one. */
export function misread(url: string): string | undefined {
  if (/^https?:/i.test(url)) {
    return 'this is the address of a REST API; copy the one that starts with redis:// or rediss://';
  }
  if (/redis-cli|\s-u\s/.test(url))
    return 'paste only the URL, not the redis-cli command around it';
  if (/[\u2028\u2029\ufeff]|[\r\n]/.test(url)) {
    return 'it holds a line separator; two variables were pasted as one';
  }
  if (/^["']|["']$/.test(url)) return 'leave the quotes away';
  if (/\s/.test(url)) return 'it holds white space';
  try {
    parseRedisUrl(url);
    return undefined;
  } catch (error) {
    return error instanceof RedisUrlError ? error.remedy : 'it is not a URL';
  }
}

/** Names of ours begin so; what others inject under them is left alone. */
const OURS =
  /^(REDIS|QUEUE|QUEUES|WORKERS?|HTTP|LOG|JOURNAL|CONCURRENCY|SHUTDOWN|LLM|WEBHOOK|SOURCES?|OUTPUT|MAX|KEEP|LOCK|STALLED|PULSE|BACKOFF|DATA|CONFIG|REPLICA|HOLDFAST)(_|$)/;
/** Kubernetes and Docker links inject these beside a service called redis. */
const INJECTED = /^[A-Z0-9_]+_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$/;

/** What other programs call what is one of ours. */
const ALIASES: Readonly<Record<string, string>> = {
  REDIS_HOST: 'REDIS_URL',
  REDIS_HOSTNAME: 'REDIS_URL',
  REDIS_PORT: 'REDIS_URL',
  REDIS_ADDR: 'REDIS_URL',
  REDIS_PASS: 'REDIS_PASSWORD',
  REDIS_PWD: 'REDIS_PASSWORD',
  REDIS_USER: 'REDIS_USERNAME',
};

/** Settings of a port by a name under which Kubernetes injects an address beside a service "http". */
const PORTS = ['HTTP_PORT', 'METRICS_PORT'];

/** Whether a value is what Kubernetes injects, and no mistake of anybody. */
export function isInjected(name: string, text: string): boolean {
  return PORTS.includes(name) && /^tcp:\/\//.test(text);
}

/** Concurrencies of queues that nobody handles, with the nearest that somebody does. */
export function unknownConcurrencies(
  perQueue: Readonly<Record<string, number>>,
  queues: readonly string[],
): string[] {
  const known = queues.map(queueVariable);
  return Object.keys(perQueue)
    .filter((name) => !known.includes(name) && !queues.includes(name))
    .map((name) => {
      const near = known.filter((other) => distance(name, other) <= 2);
      const hint = near.length > 0 ? `; did you mean ${CONCURRENCY_PREFIX}${near[0]}?` : '.';
      return `${CONCURRENCY_PREFIX}${name} has no effect: no handler has a queue of that name${hint}`;
    });
}

/** Whether a variable of this name has an effect. */
export function isSetting(name: string): boolean {
  const isSecretsFile = settings[name.replace(/_FILE$/, '')]?.secret === true;
  return Object.hasOwn(settings, name) || isSecretsFile || name.startsWith(CONCURRENCY_PREFIX);
}

/** Variables that look like ours and are not, with the nearest name that is. */
export function unknownNames(given: readonly (readonly [string, string])[]): string[] {
  const known = Object.keys(settings);
  const warnings: string[] = [];
  for (const [name, text] of given) {
    if (isSetting(name)) continue;
    if (!/^[A-Z][A-Z0-9_]*$/.test(name)) continue;
    if (INJECTED.test(name) && (/_SERVICE_|_TCP|_UDP/.test(name) || /^tcp:/.test(text))) continue;
    const alias = ALIASES[name];
    if (alias !== undefined) {
      warnings.push(`${name} is not a setting of Holdfast and has no effect; set ${alias}.`);
      continue;
    }
    const nearest = known.reduce((a, b) => (distance(name, b) < distance(name, a) ? b : a));
    const far = distance(name, nearest);
    if (far <= 2 || (OURS.test(name) && far <= 6)) {
      warnings.push(
        `${name} is not a setting of Holdfast and has no effect; did you mean ${nearest}?`,
      );
    }
  }
  return warnings;
}
