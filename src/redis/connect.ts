/**
 * The one place where connections to Redis are made: standalone, unix socket, TLS, Sentinel,
 * Cluster. What is set and why stands in `options.ts`.
 *
 * Every client has an `error` listener from its first moment (no error event ends the process),
 * reads its files of secrets at each connect, gives up on a peer that accepts and then says nothing,
 * and carries neither passwords nor payloads in its errors.
 */
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisConfig } from '../config.ts';
import { systemRandom } from '../time.ts';
import { LOGIN_OPTIONS } from './login.ts';
import {
  clusterOptions,
  fullJitterPace,
  type OptionDeps,
  type Purpose,
  type RetryPace,
  redisOptions,
} from './options.ts';

export { redactRedisUrl } from './address.ts';

export type RedisClient = Redis | Cluster;

export interface ConnectOptions {
  /** The pace of reconnecting; default full jitter from 50 ms up to 2 s. */
  retryPace?: RetryPace;
  /** Shown by CLIENT LIST after `holdfast:`; default the purpose. */
  name?: string;
  /** Hears every connection error of this client, its Cluster nodes and its secret files. */
  onError?: (error: Error) => void;
  /** Wins over what `options.ts` says; for tests and for measured exceptions with a reason. */
  overrides?: RedisOptions;
}

/** Until a caller injects the fleet-aware pace: quick for one replica, no storm for a few. */
const RETRY_BASE_MS = 50;
const RETRY_CAP_MS = 2000;
/** Replies in RESP2 shapes; stated here because it decides the client's TypeScript type. */
const SHAPE = { replyMapping: 'legacy' } as const;

/**
 * A client that connects by itself, except a `probe`, which waits for `connect()`.
 * @throws HoldfastError when the configured address cannot be understood; never for the network
 */
export function createRedisClient(
  config: RedisConfig,
  purpose: Purpose,
  options: ConnectOptions = {},
): RedisClient {
  const onError = options.onError ?? (() => {});
  const deps: OptionDeps = {
    retryPace: options.retryPace ?? fullJitterPace(RETRY_BASE_MS, RETRY_CAP_MS, systemRandom),
    connectionName: `holdfast:${options.name ?? purpose}`,
    report: onError,
  };
  return config.clusterNodes.length > 0
    ? createCluster(config, purpose, options, deps, onError)
    : createSingle(config, purpose, options, deps, onError);
}

function createSingle(
  config: RedisConfig,
  purpose: Purpose,
  options: ConnectOptions,
  deps: OptionDeps,
  onError: (error: Error) => void,
): Redis {
  const settings = redisOptions(config, purpose, deps);
  const { overrides = {} } = options;
  // Not before the client is furnished: an eager constructor reads the password at once.
  const client = new Redis({ ...settings, ...overrides, ...SHAPE, lazyConnect: true });
  client.on('error', onError);
  furnish(client, purpose, settings, config.connectTimeoutMs);
  // BullMQ duplicates a client for its blocking reads: the copy must be furnished the same.
  client.duplicate = ((override?: RedisOptions) =>
    createSingle(
      config,
      'blocking',
      { ...options, overrides: { ...overrides, ...override } },
      deps,
      onError,
    )) as typeof client.duplicate;
  const isLazy = overrides.lazyConnect ?? settings.lazyConnect ?? false;
  // A connect that fails is told by the `error` event and tried again at the retry pace.
  if (!isLazy) client.connect().catch(() => {});
  return client;
}

function createCluster(
  config: RedisConfig,
  purpose: Purpose,
  options: ConnectOptions,
  deps: OptionDeps,
  onError: (error: Error) => void,
): Cluster {
  const settings = clusterOptions(config, purpose, deps);
  const isLazy = options.overrides?.lazyConnect ?? settings.lazyConnect ?? false;
  // Assigned, not spread: the password must stay a getter.
  const nodeSettings = Object.assign(settings.redisOptions ?? {}, options.overrides, SHAPE);
  // An override for the whole client, not for its nodes, see `clusterOptions`.
  delete nodeSettings.lazyConnect;
  const cluster = new Cluster(
    config.clusterNodes.map(({ host, port }) => ({ host, port })),
    { ...settings, redisOptions: nodeSettings, lazyConnect: true },
  );
  cluster.on('error', onError);
  cluster.on('node error', onError);
  cluster.on('+node', (node: Redis) => {
    furnish(node, purpose, nodeSettings, config.connectTimeoutMs);
  });
  cluster.duplicate = (() =>
    createCluster(config, 'blocking', options, deps, onError)) as typeof cluster.duplicate;
  if (!isLazy) cluster.connect().catch(() => {});
  return cluster;
}

/** What ioredis has no option for. */
function furnish(client: Redis, purpose: Purpose, settings: RedisOptions, silenceMs: number): void {
  keepQuestions(client, settings);
  dropArguments(client);
  // The caller of a probe sets a deadline for each step itself, and on a frozen server the waiting
  // connection is what is answered first when it wakes.
  if (purpose !== 'probe') endSilentHandshakes(client, silenceMs);
}

/** ioredis copies option values when it is constructed; what a file answers must stay a question. */
function keepQuestions(client: Redis, settings: RedisOptions): void {
  for (const name of LOGIN_OPTIONS) {
    const asked = Object.getOwnPropertyDescriptor(settings, name);
    if (asked?.get !== undefined) Object.defineProperty(client.options, name, asked);
  }
}

/** An error reply carries its command's arguments: passwords of AUTH, payloads of jobs. */
function dropArguments(client: Redis): void {
  const handle = client.handleReconnection.bind(client);
  client.handleReconnection = (error: Error & { command?: { name: string } }, item) => {
    if (error.command !== undefined) error.command = { name: error.command.name };
    handle(error, item);
  };
}

/**
 * ioredis waits for ever for the replies to AUTH and to its ready check. A peer from which nothing
 * came for `silenceMs` before the client was ready is not there; a LOADING server answers.
 */
function endSilentHandshakes(client: Redis, silenceMs: number): void {
  client.on('connect', () => {
    const { stream } = client;
    let heard = stream.bytesRead;
    const timer = setInterval(() => {
      if (client.stream !== stream || client.status !== 'connect') return clearInterval(timer);
      if (stream.bytesRead === heard) {
        stream.destroy(new Error(`connected, but no answer within ${silenceMs} ms`));
      }
      heard = stream.bytesRead;
    }, silenceMs);
    stream.once('close', () => clearInterval(timer));
  });
}
