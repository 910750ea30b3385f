/**
 * Every ioredis option that matters, each with its reason. Nothing is left to a default, because
 * the defaults changed with majors (retry, keep-alive and protocol in ioredis 6).
 *
 * Only decides; opens no socket. The results hold credentials: never log them.
 */
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { ClusterOptions, RedisOptions } from 'ioredis';
import type { RedisConfig } from '../config.ts';
import type { HoldfastError } from '../errors.ts';
import type { Random } from '../time.ts';
import { parseRedisUrl } from './address.ts';
import { conditionOf } from './conditions.ts';
import { giveLogin, giveSentinelLogin } from './login.ts';
import { rereadFile } from './reread-file.ts';

/**
 * What a connection is for: `command` carries requests, `blocking` waits for work, `probe` asks a
 * server that may be away how it is, `subscriber` listens to events.
 */
export type Purpose = 'command' | 'blocking' | 'probe' | 'subscriber';

/** The pace of reconnecting: ms to wait before try number `times` (from 1), or null to give up. */
export type RetryPace = (times: number) => number | null;

export interface OptionDeps {
  retryPace: RetryPace;
  /** Shown by CLIENT LIST. */
  connectionName: string;
  /** Hears of password and certificate files that cannot be read. */
  report: (error: HoldfastError) => void;
}

/** After this silence the kernel asks the peer whether it lives; then each second, ten times. It is
 * what finds a dead peer on a blocking connection, which cannot carry a pulse. */
const KEEP_ALIVE_MS = 10_000;
/** From `disconnect` (FIN) to destroying the socket: a frozen server never answers the FIN, and
 * meanwhile no new connection is tried. ioredis waits 2 s. */
const DISCONNECT_TIMEOUT_MS = 500;
/** While a server is LOADING it is asked again at this pace; ioredis would wait up to 10 s. */
const LOADING_RETRY_MS = 250;
/** Topology of a Cluster that changes without any redirect (a new replica) is seen after this. */
const SLOTS_REFRESH_INTERVAL_MS = 5000;
/** ioredis' own numbers for redirects in a Cluster; small beside a failover of seconds. */
const CLUSTER_RETRY_MS = 100;
const CLUSTER_REDIRECTIONS_MAX = 16;

/** Full jitter: a random part of `base · 2ⁿ`, capped, so that a fleet does not come back in step.
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ */
export function fullJitterPace(baseMs: number, capMs: number, random: Random): RetryPace {
  return (times) => Math.ceil(random() * Math.min(capMs, baseMs * 2 ** Math.min(times - 1, 30)));
}

/** Options of one connection: standalone, unix socket or Sentinel. */
export function redisOptions(
  config: RedisConfig,
  purpose: Purpose,
  deps: OptionDeps,
): RedisOptions {
  const isSentinel = config.sentinels.length > 0;
  const address = config.url === undefined ? undefined : parseRedisUrl(config.url);
  const tls = tlsOptions(config, address?.tls ?? false, address?.host, deps.report);
  const options: RedisOptions = {
    // A probe's first reply must be the one to its own first request, see `probe.ts`.
    ...(purpose === 'probe' ? {} : { connectionName: deps.connectionName }),
    // Two requests less at each connect, which count when ten thousand replicas come back.
    disableClientInfo: true,
    // The protocol that BullMQ is developed and tested with; ioredis 6 would take 3.
    protocol: 2,
    // Names with both kinds of address must work on hosts that route only one of them.
    family: 0,
    // Requests are small and somebody waits for each.
    noDelay: true,
    keepAlive: KEEP_ALIVE_MS,
    connectTimeout: config.connectTimeoutMs,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    // `commandTimeout` would reject a blocking read that merely waits, and `socketTimeout` would
    // close idle connections (one error line per queue and timeout). Neither is set, on purpose:
    // the pulse finds a silent server, the caller's deadline bounds a request.

    // 0: a request is rejected when its connection closes, and is never sent a second time. What a
    // request did is then decided in recovery, in its order, and not by a blind resend that runs
    // before it. `null`, which BullMQ recommends, resends everything at the reconnect, and a resent
    // blocking read may never settle; `autoResendUnfulfilledCommands: false` alone leaves promises
    // pending for ever in ioredis 6.0.0 (redis/ioredis#2193).
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // A probe asks what is now: it must not queue up behind a connect. Everybody else may, because
    // requests before the first connect are normal; the queue is emptied whenever a connect fails.
    enableOfflineQueue: purpose !== 'probe',
    // Not ready before the dataset is loaded, and, with Sentinel, before the role is `master`.
    // A probe must see LOADING itself.
    enableReadyCheck: purpose !== 'probe',
    maxLoadingRetryTime: LOADING_RETRY_MS,
    autoResubscribe: purpose === 'subscriber',
    lazyConnect: purpose === 'probe',
    // A probe is one try with a deadline of its caller's.
    retryStrategy: purpose === 'probe' ? () => null : deps.retryPace,
    reconnectOnError: isDemoted,
    // BullMQ refuses a prefix of ioredis; its own is `config.prefix`.
    keyPrefix: '',
    // Auto-pipelining would reorder requests of one tick across the recovery's gates.
    enableAutoPipelining: false,
    readOnly: false,
    stringNumbers: false,
  };
  const db = config.db ?? address?.db;
  if (db !== undefined) options.db = db;
  if (tls !== undefined) options.tls = tls;
  giveLogin(options, config, deps.report);
  if (isSentinel) {
    Object.assign(options, sentinelOptions(config, purpose, deps, tls));
    giveSentinelLogin(options, config, deps.report);
  } else if (address?.path !== undefined) options.path = address.path;
  else Object.assign(options, { host: address?.host, port: address?.port });
  return options;
}

/** Options of a Cluster; `redisOptions` of its nodes included. */
export function clusterOptions(
  config: RedisConfig,
  purpose: Purpose,
  deps: OptionDeps,
): ClusterOptions {
  const node = redisOptions({ ...config, url: undefined }, purpose, deps);
  // These are the Cluster's to decide; a node that connects before it is announced would read its
  // password before anybody can make it a question.
  delete node.retryStrategy;
  delete node.enableOfflineQueue;
  delete node.lazyConnect;
  return {
    clusterRetryStrategy: purpose === 'probe' ? () => null : deps.retryPace,
    // A node that is lost is not dialled again: its slots have moved, a redirect tells where.
    clusterNodeRetryStrategy: null,
    // Unlike a single connection: without it the Cluster client cannot refresh its slots.
    enableOfflineQueue: true,
    // Ready means CLUSTER INFO says `ok`: all slots are served.
    enableReadyCheck: purpose !== 'probe',
    // BullMQ reads what it has just written: a replica would be late.
    scaleReads: 'master',
    maxRedirections: CLUSTER_REDIRECTIONS_MAX,
    retryDelayOnMoved: 0,
    retryDelayOnFailover: CLUSTER_RETRY_MS,
    retryDelayOnClusterDown: CLUSTER_RETRY_MS,
    retryDelayOnTryAgain: CLUSTER_RETRY_MS,
    slotsRefreshTimeout: config.connectTimeoutMs,
    slotsRefreshInterval: SLOTS_REFRESH_INTERVAL_MS,
    // BullMQ uses streams and blocking reads, not sharded pub/sub.
    shardedSubscribers: false,
    enableAutoPipelining: false,
    lazyConnect: purpose === 'probe',
    redisOptions: node,
  };
}

/**
 * A master that became a replica, or is about to: the name or the Sentinel may lead elsewhere by
 * now. Reconnects, and rejects the request rather than to send it again.
 */
function isDemoted(error: Error): boolean {
  const condition = conditionOf(error);
  return condition === 'read-only' || condition === 'disconnected';
}

function sentinelOptions(
  config: RedisConfig,
  purpose: Purpose,
  deps: OptionDeps,
  tls: ConnectionOptions | undefined,
): RedisOptions {
  return {
    sentinels: config.sentinels.map(({ host, port }) => ({ host, port })),
    name: config.sentinelName ?? 'mymaster',
    role: 'master',
    // A frozen Sentinel must not hold up the question to the next one.
    sentinelCommandTimeout: config.connectTimeoutMs,
    // Without a pace the client ends for good when no Sentinel answers once.
    sentinelRetryStrategy: purpose === 'probe' ? () => null : deps.retryPace,
    updateSentinels: true,
    // A stale master that wakes answers pulses and takes writes that will be lost: only the Sentinels
    // know. The probe's connection becomes the one that is used; one listener per process is enough.
    failoverDetector: purpose === 'probe',
    ...(tls === undefined ? {} : { sentinelTLS: tls, enableTLSForSentinelMode: true }),
  };
}

/** ioredis copies these at each connect, so the getters see a rotated certificate too. */
function tlsOptions(
  config: RedisConfig,
  isTlsUrl: boolean,
  host: string | undefined,
  report: OptionDeps['report'],
): ConnectionOptions | undefined {
  const { tls } = config;
  if (tls === undefined && !isTlsUrl) return undefined;
  const options: ConnectionOptions = { rejectUnauthorized: tls?.rejectUnauthorized ?? true };
  const servername = tls?.serverName ?? (host !== undefined && isIP(host) === 0 ? host : undefined);
  if (servername !== undefined) options.servername = servername;
  for (const [name, path] of [
    ['ca', tls?.caFile],
    ['cert', tls?.certFile],
    ['key', tls?.keyFile],
  ] as const) {
    if (path === undefined) continue;
    const get = rereadFile(path, `TLS ${name}`, report);
    Object.defineProperty(options, name, { get, enumerable: true, configurable: true });
  }
  return options;
}
