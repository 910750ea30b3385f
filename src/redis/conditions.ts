/**
 * The catalogue of conditions: what can be wrong with Redis, told in one word, with its cause class,
 * what it means, what to do, and how eagerly to probe. Log, readiness and errors say these names.
 *
 * `conditionOf` is the only place that reads the texts and codes of foreign errors.
 */
import type { Pace } from '../breaker/backoff.ts';

export type CauseClass = 'network' | 'configuration' | 'resource' | 'server';

export interface Condition {
  cause: CauseClass;
  meaning: string;
  /** What to do, in imperative words. */
  remedy: string;
  pace: Pace;
}

export const conditions = {
  connecting: {
    cause: 'network',
    meaning: 'the first connection is being made',
    remedy: 'Wait a moment.',
    pace: 'fast',
  },
  refused: {
    cause: 'network',
    meaning: 'nothing listens at the address, or the connection was reset',
    remedy: 'Check that redis-server runs and that host and port of REDIS_URL are right.',
    pace: 'fast',
  },
  dns: {
    cause: 'network',
    meaning: 'the host name of Redis does not resolve',
    remedy: 'Check the host in REDIS_URL and the name server.',
    pace: 'fast',
  },
  tls: {
    cause: 'configuration',
    meaning: 'the TLS handshake fails',
    remedy:
      'Check that the port speaks TLS (rediss://) or does not (redis://), and certificate, CA and server name.',
    pace: 'slow',
  },
  timeout: {
    cause: 'network',
    meaning: 'Redis cannot be reached in time',
    remedy: 'Check firewall, routes and security groups between this host and Redis.',
    pace: 'fast',
  },
  'half-open': {
    cause: 'network',
    meaning: 'a connection is open but answers nothing',
    remedy: 'Check NAT and firewall state between this host and Redis; the connection is replaced.',
    pace: 'fast',
  },
  frozen: {
    cause: 'server',
    meaning: 'Redis accepts connections and answers nothing',
    remedy:
      'Look for a stopped process, a paused VM, a slow script or a disk that stalls the server.',
    pace: 'fast',
  },
  loading: {
    cause: 'server',
    meaning: 'Redis is loading its dataset after a start',
    remedy: 'Wait; work goes on by itself when the dataset is loaded.',
    pace: 'fast',
  },
  'read-only': {
    cause: 'server',
    meaning: 'the server is a replica and takes no writes',
    remedy: 'Check the failover; point REDIS_URL or Sentinel at the master.',
    pace: 'fast',
  },
  'no-replicas': {
    cause: 'server',
    meaning: 'the master takes no writes because too few replicas are connected',
    remedy: 'Bring the replicas back, or lower min-replicas-to-write.',
    pace: 'fast',
  },
  'master-down': {
    cause: 'server',
    meaning: 'the replica has lost its master',
    remedy: 'Check the master and the failover.',
    pace: 'fast',
  },
  'cluster-down': {
    cause: 'server',
    meaning: 'the cluster does not serve the slot',
    remedy: 'Check the cluster: a master of the slot must be up or a replica promoted.',
    pace: 'fast',
  },
  'busy-script': {
    cause: 'server',
    meaning: 'Redis is busy with a long script',
    remedy: 'Find the script with SLOWLOG; end it with SCRIPT KILL if it only reads.',
    pace: 'fast',
  },
  'out-of-memory': {
    cause: 'resource',
    meaning: 'Redis has reached maxmemory and takes no writes that need memory',
    remedy: 'Free memory or raise maxmemory; keep fewer finished jobs.',
    pace: 'normal',
  },
  'cannot-persist': {
    cause: 'resource',
    meaning: 'Redis cannot save to disk and refuses writes (MISCONF)',
    remedy: 'Check disk space and permissions of the data folder; see the log of redis-server.',
    pace: 'normal',
  },
  'max-clients': {
    cause: 'resource',
    meaning: 'Redis has as many clients as maxclients allows',
    remedy: 'Close idle clients or raise maxclients.',
    pace: 'normal',
  },
  'auth-required': {
    cause: 'configuration',
    meaning: 'Redis wants a password and none was given',
    remedy: 'Set REDIS_PASSWORD or REDIS_PASSWORD_FILE.',
    pace: 'slow',
  },
  'wrong-password': {
    cause: 'configuration',
    meaning: 'user name or password is wrong',
    remedy: 'Correct REDIS_USERNAME and REDIS_PASSWORD; a password file is read at every connect.',
    pace: 'slow',
  },
  'no-permission': {
    cause: 'configuration',
    meaning: 'the Redis user may not run a command that is needed',
    remedy: 'Give the user the commands and key patterns that the documentation lists.',
    pace: 'slow',
  },
  'server-restarted': {
    cause: 'server',
    meaning: 'Redis was started anew',
    remedy: 'Look in the log of redis-server why it ended.',
    pace: 'fast',
  },
  'failed-over': {
    cause: 'server',
    meaning: 'another server is the master now',
    remedy: 'Look at why the former master went away.',
    pace: 'fast',
  },
  'data-lost': {
    cause: 'server',
    meaning: 'the dataset is gone',
    remedy:
      'Check persistence (appendonly yes) and who ran FLUSHALL; restore a backup if there is one.',
    pace: 'fast',
  },
  'data-rolled-back': {
    cause: 'server',
    meaning: 'the dataset lost its last moments',
    remedy: 'Set appendfsync always, or accept the window; lost outcomes were written again.',
    pace: 'fast',
  },
  'event-loop-blocked': {
    cause: 'resource',
    meaning: 'our own event loop stood still',
    remedy: 'Move computation of handlers to a worker thread.',
    pace: 'fast',
  },
} as const satisfies Record<string, Condition>;

export type ConditionName = keyof typeof conditions;

/** The error replies of Redis by their first word, also when a script's error wraps them. */
const replies: readonly (readonly [RegExp, ConditionName])[] = [
  [/\bLOADING\b/, 'loading'],
  [/\bREADONLY\b|-READONLY/, 'read-only'],
  [/\bUNBLOCKED\b/, 'failed-over'],
  [/\bMASTERDOWN\b/, 'master-down'],
  [/\bNOREPLICAS\b/, 'no-replicas'],
  [/\bCLUSTERDOWN\b|\bTRYAGAIN\b|Failed to refresh slots cache/, 'cluster-down'],
  [/^BUSY\b|\bBUSY Redis is busy/, 'busy-script'],
  [/\bOOM\b/, 'out-of-memory'],
  [/\bMISCONF\b/, 'cannot-persist'],
  [/max number of clients/, 'max-clients'],
  [/\bNOAUTH\b|without any password configured/, 'auth-required'],
  [/\bWRONGPASS\b|invalid password/, 'wrong-password'],
  [/\bNOPERM\b|can't run this command|can't access/, 'no-permission'],
];

const codes: Readonly<Record<string, ConditionName>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'refused',
  ECONNABORTED: 'refused',
  EPIPE: 'refused',
  ENOENT: 'refused',
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  EAI_FAIL: 'dns',
  ENODATA: 'dns',
  ETIMEDOUT: 'timeout',
  EHOSTUNREACH: 'timeout',
  ENETUNREACH: 'timeout',
  EHOSTDOWN: 'timeout',
  EPROTO: 'tls',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'tls',
  SELF_SIGNED_CERT_IN_CHAIN: 'tls',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'tls',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'tls',
  CERT_HAS_EXPIRED: 'tls',
};

/**
 * What an error of ioredis or a reply of Redis means; undefined when it is no condition of Redis but a
 * mistake of a command or of a caller.
 */
export function conditionOf(error: unknown): ConditionName | undefined {
  if (!(error instanceof Error)) return undefined;
  const { message } = error;
  const code = String((error as { code?: unknown }).code ?? '');
  const byCode = codes[code];
  if (byCode) return byCode;
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_')) return 'tls';
  for (const [pattern, name] of replies) {
    if (pattern.test(message)) return name;
  }
  if (/^(Connection is closed\.|Stream isn't writeable|Socket closed unexpectedly)/.test(message)) {
    return 'refused';
  }
  if (error.name === 'MaxRetriesPerRequestError' || error.name === 'AbortError') return 'refused';
  if (/Command timed out|connect ETIMEDOUT|no answer/.test(message)) return 'timeout';
  if (/All sentinels are unreachable/.test(message)) return 'master-down';
  return undefined;
}
