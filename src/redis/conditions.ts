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

/** The error replies of Redis by their first word. */
const replyCodes: Readonly<Record<string, ConditionName>> = {
  LOADING: 'loading',
  READONLY: 'read-only',
  UNBLOCKED: 'failed-over',
  MASTERDOWN: 'master-down',
  NOREPLICAS: 'no-replicas',
  CLUSTERDOWN: 'cluster-down',
  TRYAGAIN: 'cluster-down',
  BUSY: 'busy-script',
  OOM: 'out-of-memory',
  MISCONF: 'cannot-persist',
  NOAUTH: 'auth-required',
  WRONGPASS: 'wrong-password',
  NOPERM: 'no-permission',
};

/**
 * The first word of a reply; since Redis 7 the same when a script meets it. Redis 6 wraps it: "ERR Error
 * running script (call to f_…): @user_script:1: -OOM command not allowed …".
 */
const REPLY_CODE = /^(?:ERR Error (?:running|compiling) script .*?: -)?([A-Z]+) /;

/** Replies whose first word is the general ERR, and texts of ioredis and of ours. */
const texts: readonly (readonly [RegExp, ConditionName])[] = [
  [/^ERR max number of clients/, 'max-clients'],
  [/^ERR invalid password/, 'wrong-password'],
  // A script's user may not run one of its commands or touch one of its keys (Redis 7, Redis 6).
  [/^ERR .*The user executing the script can't /, 'no-permission'],
  [/^Failed to refresh slots cache|^Too many Cluster redirections/, 'cluster-down'],
  [
    /^(Connection is closed\.|Stream isn't writeable|Socket closed unexpectedly|Reached the max retries per request)/,
    'refused',
  ],
  [/^(Command timed out|connect ETIMEDOUT|connected, but no answer)/, 'timeout'],
];

const codes: Readonly<Record<string, ConditionName>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'refused',
  ECONNABORTED: 'refused',
  EPIPE: 'refused',
  ENOTCONN: 'refused',
  ERR_STREAM_DESTROYED: 'refused',
  ERR_STREAM_WRITE_AFTER_END: 'refused',
  // The path of a unix socket.
  ENOENT: 'refused',
  ENOTFOUND: 'dns',
  ENODATA: 'dns',
  ETIMEDOUT: 'timeout',
  EHOSTUNREACH: 'timeout',
  ENETUNREACH: 'timeout',
  ENETDOWN: 'timeout',
  EHOSTDOWN: 'timeout',
  // A local firewall that rejects.
  EPERM: 'timeout',
  EPROTO: 'tls',
  // Our own: a probe or a pulse that was accepted and not answered, a blocking read that is overdue.
  EFROZEN: 'frozen',
  EBLOCKED: 'half-open',
};

/** Codes of families: of getaddrinfo, of OpenSSL, of Node's TLS, of certificate checks. */
const codeFamilies: readonly (readonly [RegExp, ConditionName])[] = [
  [/^EAI_/, 'dns'],
  [/^ERR_(SSL|TLS|OSSL)_/, 'tls'],
  // https://nodejs.org/api/tls.html#x509-certificate-error-codes
  [/CERT|^CRL_|^INVALID_(CA|PURPOSE)$|^HOSTNAME_MISMATCH$|^PATH_LENGTH_EXCEEDED$/, 'tls'],
  [/^UNABLE_TO_(GET|DECRYPT|DECODE|VERIFY)_/, 'tls'],
];

/**
 * What an error of ioredis or a reply of Redis means; undefined when it is no condition of Redis but a
 * mistake of a command or of a caller.
 */
export function conditionOf(error: unknown): ConditionName | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as { code?: unknown };
  const own = (typeof code === 'string' && ofCode(code)) || ofText(error.message);
  // A cluster client names the last node's error, which says more than that no node answered.
  return ofCarried(error) ?? own;
}

function ofCode(code: string): ConditionName | undefined {
  return codes[code] ?? codeFamilies.find(([pattern]) => pattern.test(code))?.[1];
}

function ofText(message: string): ConditionName | undefined {
  const word = REPLY_CODE.exec(message)?.[1];
  if (word !== undefined && Object.hasOwn(replyCodes, word)) return replyCodes[word];
  const byText = texts.find(([pattern]) => pattern.test(message));
  if (byText) return byText[1];
  // "All sentinels are unreachable and retry is disabled. Last error: connect ECONNREFUSED …"
  if (message.startsWith('All sentinels are unreachable')) {
    const last = /Last error: (?:\w+ )?(E[A-Z_]+)/.exec(message)?.[1];
    return (last !== undefined && ofCode(last)) || 'refused';
  }
  return undefined;
}

/** An error that stands for others: EXECABORT for the commands that a transaction refused. */
function ofCarried(error: Error): ConditionName | undefined {
  const { previousErrors, lastNodeError } = error as {
    previousErrors?: readonly unknown[];
    lastNodeError?: unknown;
  };
  for (const carried of [...(previousErrors ?? []), lastNodeError]) {
    const condition = conditionOf(carried);
    if (condition !== undefined) return condition;
  }
  return undefined;
}
