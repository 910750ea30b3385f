/**
 * From an error to the one word that says what is wrong: the only place that reads the texts and codes
 * of foreign errors. What the words mean stands in `condition-catalogue.ts`.
 */
import type { ConditionName } from './condition-catalogue.ts';

/** The error replies of Redis by their first word. */
const replyCodes: Readonly<Record<string, ConditionName>> = {
  LOADING: 'loading',
  READONLY: 'read-only',
  // The server's role changed, or somebody sent CLIENT UNBLOCK: what became of it, the next probe tells.
  UNBLOCKED: 'disconnected',
  MASTERDOWN: 'master-down',
  NOREPLICAS: 'no-replicas',
  CLUSTERDOWN: 'cluster-down',
  TRYAGAIN: 'cluster-down',
  BUSY: 'busy-script',
  OOM: 'out-of-memory',
  MISCONF: 'cannot-persist',
  NOAUTH: 'auth-required',
  // Protected mode: a server without a password, asked from another host.
  DENIED: 'auth-required',
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
  // What a large command is answered on a connection that did not log in.
  [/^ERR Protocol error: unauthenticated /, 'auth-required'],
  // A script's user may not run one of its commands or touch one of its keys (Redis 7, Redis 6).
  [/^ERR .*The user executing the script can't /, 'no-permission'],
  // What ioredis' parser says of bytes that are not Redis' protocol.
  [/^Unknown RESP type |^Protocol error, got "/, 'not-redis'],
  [/^Failed to refresh slots cache|^Too many Cluster redirections/, 'cluster-down'],
  [
    /^(Connection is closed\.|Command aborted due to connection close|Stream isn't writeable|Socket closed unexpectedly|Reached the max retries per request)/,
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

/** A new connection was tried, and nobody took it. */
const NOBODY_LISTENS = /ECONNREFUSED|ENOENT|All sentinels are unreachable/;

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
  // A cluster client names the last node's error, which says more than that no node answered.
  return ofCarried(error) ?? ofItself(error);
}

/**
 * The same for a connection that was in use: that it ended says nothing of why, other than a new one that
 * is refused.
 */
export function conditionInUse(error: unknown): ConditionName | undefined {
  const condition = conditionOf(error);
  return condition === 'refused' && !NOBODY_LISTENS.test(textIn(error))
    ? 'disconnected'
    : condition;
}

function textIn(error: unknown): string {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return `${code} ${message}`;
}

function ofItself(error: Error): ConditionName | undefined {
  const { code } = error as { code?: unknown };
  return (typeof code === 'string' && ofCode(code)) || ofText(error.message);
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

/**
 * An error that stands for others: EXECABORT for the commands that a transaction refused. Those are not
 * asked for theirs: a connection that closes gives all of a transaction one error, which carries itself.
 */
function ofCarried(error: Error): ConditionName | undefined {
  const { previousErrors, lastNodeError } = error as {
    previousErrors?: readonly unknown[];
    lastNodeError?: unknown;
  };
  for (const carried of [...(previousErrors ?? []), lastNodeError]) {
    const condition = carried instanceof Error ? ofItself(carried) : undefined;
    if (condition !== undefined) return condition;
  }
  return undefined;
}
