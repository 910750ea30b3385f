/**
 * What the service is told from outside, as one validated, frozen value: its shape. `load-config.ts` makes
 * it from environment and files. Types only.
 */

/** How to reach Redis. Exactly one of `url`, `sentinels`, `clusterNodes` is set once resolved. */
export interface RedisConfig {
  /** `redis://`, `rediss://` or `unix://`; undefined until the embedded server has an address. */
  url: string | undefined;
  /** Where `url` was read from: its user and password are read again at every connect. */
  urlFile: string | undefined;
  sentinels: readonly { host: string; port: number }[];
  sentinelName: string | undefined;
  sentinelUsername: string | undefined;
  sentinelPassword: string | undefined;
  /** Where `sentinelPassword` was read from; read again at every connect. */
  sentinelPasswordFile: string | undefined;
  clusterNodes: readonly { host: string; port: number }[];
  username: string | undefined;
  password: string | undefined;
  /** Read at every connect, so that a rotated password needs no restart. */
  passwordFile: string | undefined;
  db: number | undefined;
  tls:
    | {
        caFile: string | undefined;
        certFile: string | undefined;
        keyFile: string | undefined;
        serverName: string | undefined;
        rejectUnauthorized: boolean;
      }
    | undefined;
  /** BullMQ's key prefix. */
  prefix: string;
  connectTimeoutMs: number;
}

export interface Config {
  environment: 'development' | 'test' | 'production';
  /** Name of this replica in logs and in the fleet: REPLICA, else host name and a short suffix. */
  replica: string;
  version: string;
  /** Folder for everything this replica keeps on disk: embedded Redis, journal, outage records. */
  dataDir: string;
  redis: RedisConfig;
  /** Path of a redis-server or valkey-server for the embedded default. */
  redisServerBin: string | undefined;
  workersDir: string;
  configDir: string;
  /** Files that hold secrets or certificates: looked at for changes. */
  secretFiles: readonly string[];
  /** Only these queues are consumed; empty means all that `workers/` names. */
  queues: readonly string[];
  /** Default concurrency per queue, and `CONCURRENCY_<QUEUE>` overrides by queue name. */
  concurrency: { default: number; perQueue: Readonly<Record<string, number>> };
  lockDurationMs: number;
  stalledIntervalMs: number;
  retention: {
    completed: { age: number; count: number };
    failed: { age: number; count: number };
  };
  unknownJobGraceMs: number;
  jobBytesMax: number;
  resultBytesMax: number;
  shutdownGraceMs: number;
  http: {
    enabled: boolean;
    host: string;
    port: number;
    /** Each for its scope: `token` may administer, and so everything. */
    token: string | undefined;
    writeToken: string | undefined;
    readToken: string | undefined;
    /** The origin under which a proxy serves this service, e.g. `https://jobs.example`. */
    publicUrl: string | undefined;
    /** Names, beside loopback and `publicUrl`, under which browsers may ask. */
    allowedHosts: readonly string[];
    /** Requests of one address in a second. */
    ratePerSecondMax: number;
  };
  /** A port of its own for `/metrics`; without one it is served with the rest. */
  metrics: { host: string; port: number | undefined };
  /** Where spans go (OTLP over HTTP); undefined: nowhere. */
  tracing: { endpoint: string | undefined; serviceName: string };
  log: {
    level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';
    format: 'json' | 'pretty';
  };
  /** Ours of the outage: breaker, pulse, journal. */
  resilience: {
    pulseIntervalMs: number;
    pulseTimeoutMs: number;
    /** Attempts per second of the whole fleet while Redis is away. */
    attemptBudget: number;
    backoffBaseMs: number;
    backoffCapMinMs: number;
    backoffCapMaxMs: number;
    /** How long an outage in-flight jobs are to survive with plain BullMQ workers in the fleet. */
    rollbackWindowMs: number;
    /** Whoever enqueues is answered within this time, whatever Redis does. */
    enqueueTimeoutMs: number;
    /** strict: every accepted job goes through the journal and stays there for the rollback window. */
    durability: 'normal' | 'strict';
    slowStartMs: number;
    wedgeAfterMs: number;
    journal: { dir: string; bytesMax: number; entriesMax: number; mode: 'disk' | 'memory' };
  };
  faq: {
    sourcesRoots: readonly string[];
    outputDir: string;
    llm:
      | {
          baseUrl: string;
          apiKey: string | undefined;
          /** Where `apiKey` was read from; the worker reads it again at each use. */
          apiKeyFile: string | undefined;
          model: string;
          timeoutMs: number;
        }
      | undefined;
  };
  webhook: {
    /** Base64. */
    secret: string | undefined;
    /** Where `secret` was read from; the worker reads it again at each use. */
    secretFile: string | undefined;
    /** Whether webhooks go out although there is no secret to sign them with. */
    allowUnsigned: boolean;
    allowHttp: boolean;
    allowPrivate: boolean;
  };
}
