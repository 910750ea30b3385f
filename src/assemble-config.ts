/**
 * From values by the name of their variable to the configuration: which setting stands where. A flat
 * table, which may be long.
 */
import { hostname } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { Config } from './config.ts';
import type { Given } from './load-config.ts';
import { settings } from './settings.ts';

export interface Values {
  /** What the settings' own parsers made of the texts. */
  values: Readonly<Record<string, unknown>>;
  /** Slots of single queues. */
  perQueue: Record<string, number>;
  /** The texts themselves. */
  given: Given;
  /** Folder of relative paths. */
  cwd: string;
  version: string;
}

type Store = Config['resilience']['journal']['mode'];

/**
 * Bytes of a journal. On disk: ten minutes at 1,000 jobs/s with 700 bytes of data each, on a volume of
 * 1 GiB even where SQLite needs twice the room. In memory: what a container of 256 MiB can spare.
 */
const JOURNAL_BYTES_MAX: Record<Store, number> = { disk: 512 * 1024 ** 2, memory: 64 * 1024 ** 2 };

export function assemble({ values, perQueue, given, cwd, version }: Values): Config {
  const get = <T>(name: string) => values[name] as T;
  const path = (name: string) => absolute(get<string>(name), cwd);
  const dataDir = path('DATA_DIR');
  const url = get<string | undefined>('REDIS_URL');
  const tls = get<boolean>('REDIS_TLS') || (url?.startsWith('rediss:') ?? false);
  const seconds = (name: string) => Math.round(get<number>(name) / 1000);
  const format = get<'auto' | 'json' | 'pretty'>('LOG_FORMAT');
  return deepFreeze({
    environment: get('NODE_ENV'),
    replica: get<string | undefined>('REPLICA') ?? hostname(),
    version,
    dataDir,
    redis: {
      url,
      urlFile: fileOf('REDIS_URL', given),
      sentinels: get<Config['redis']['sentinels'] | undefined>('REDIS_SENTINELS') ?? [],
      sentinelName: get('REDIS_SENTINEL_NAME'),
      sentinelUsername: get('REDIS_SENTINEL_USERNAME'),
      sentinelPassword: get('REDIS_SENTINEL_PASSWORD'),
      sentinelPasswordFile: fileOf('REDIS_SENTINEL_PASSWORD', given),
      clusterNodes: get<Config['redis']['clusterNodes'] | undefined>('REDIS_CLUSTER_NODES') ?? [],
      username: get('REDIS_USERNAME'),
      password: get('REDIS_PASSWORD'),
      passwordFile: given.get('REDIS_PASSWORD_FILE')?.text,
      db: get('REDIS_DB'),
      tls: tls
        ? {
            caFile: get('REDIS_TLS_CA_FILE'),
            certFile: get('REDIS_TLS_CERT_FILE'),
            keyFile: get('REDIS_TLS_KEY_FILE'),
            serverName: get('REDIS_TLS_SERVER_NAME'),
            rejectUnauthorized: get('REDIS_TLS_REJECT_UNAUTHORIZED'),
          }
        : undefined,
      prefix: get('QUEUE_PREFIX'),
      connectTimeoutMs: get('REDIS_CONNECT_TIMEOUT'),
    },
    redisServerBin: serverBin(get('REDIS_SERVER_BIN'), cwd),
    secretFiles: secretFiles(given),
    workersDir: path('WORKERS_DIR'),
    configDir: path('CONFIG_DIR'),
    queues: get('QUEUES'),
    concurrency: { default: get('CONCURRENCY'), perQueue },
    lockDurationMs: get('LOCK_DURATION'),
    stalledIntervalMs: get('STALLED_INTERVAL'),
    retention: {
      completed: { age: seconds('KEEP_COMPLETED_AGE'), count: get('KEEP_COMPLETED_COUNT') },
      failed: { age: seconds('KEEP_FAILED_AGE'), count: get('KEEP_FAILED_COUNT') },
    },
    unknownJobGraceMs: get('UNKNOWN_JOB_GRACE'),
    jobBytesMax: get('MAX_JOB_BYTES'),
    resultBytesMax: get('MAX_RESULT_BYTES'),
    shutdownGraceMs: get('SHUTDOWN_GRACE'),
    http: {
      enabled: get('HTTP'),
      host: get('HTTP_HOST'),
      port: get('HTTP_PORT'),
      token: get('HTTP_TOKEN'),
      writeToken: get('HTTP_WRITE_TOKEN'),
      readToken: get('HTTP_READ_TOKEN'),
      publicUrl: get('HTTP_PUBLIC_URL'),
      allowedHosts: get('HTTP_ALLOWED_HOSTS'),
      ratePerSecondMax: get('HTTP_RATE_MAX'),
    },
    metrics: { host: get('METRICS_HOST'), port: get('METRICS_PORT') },
    tracing: {
      endpoint: get('OTEL_EXPORTER_OTLP_ENDPOINT'),
      serviceName: get('OTEL_SERVICE_NAME'),
    },
    log: {
      level: get('LOG_LEVEL'),
      format: format === 'auto' ? (process.stdout.isTTY ? 'pretty' : 'json') : format,
    },
    resilience: {
      pulseIntervalMs: get('PULSE_INTERVAL'),
      pulseTimeoutMs: get('PULSE_TIMEOUT'),
      attemptBudget: get('ATTEMPT_BUDGET'),
      backoffBaseMs: get('BACKOFF_BASE'),
      backoffCapMinMs: get('BACKOFF_CAP_MIN'),
      backoffCapMaxMs: get('BACKOFF_CAP_MAX'),
      rollbackWindowMs: get('ROLLBACK_WINDOW'),
      enqueueTimeoutMs: get('ENQUEUE_TIMEOUT'),
      durability: get('DURABILITY'),
      slowStartMs: get('SLOW_START'),
      wedgeAfterMs: get('WEDGE_AFTER'),
      journal: {
        dir: absolute(get<string | undefined>('JOURNAL_DIR') ?? join(dataDir, 'journal'), cwd),
        bytesMax:
          get<number | undefined>('JOURNAL_BYTES_MAX') ?? JOURNAL_BYTES_MAX[get<Store>('JOURNAL')],
        entriesMax: get('JOURNAL_ENTRIES_MAX'),
        mode: get('JOURNAL'),
      },
    },
    faq: {
      sourcesRoots: get<string[]>('SOURCES_ROOTS').map((root) => absolute(root, cwd)),
      outputDir: path('OUTPUT_DIR'),
      llm:
        get('LLM_BASE_URL') === undefined
          ? undefined
          : {
              baseUrl: get('LLM_BASE_URL'),
              apiKey: get('LLM_API_KEY'),
              apiKeyFile: fileOf('LLM_API_KEY', given),
              model: get('LLM_MODEL'),
              timeoutMs: get('LLM_TIMEOUT'),
            },
    },
    webhook: {
      secret: get('WEBHOOK_SECRET'),
      secretFile: fileOf('WEBHOOK_SECRET', given),
      allowUnsigned: get('WEBHOOK_ALLOW_UNSIGNED'),
      allowHttp: get('WEBHOOK_ALLOW_HTTP'),
      allowPrivate: get('WEBHOOK_ALLOW_PRIVATE'),
    },
  });
}

/** Every file that a secret, or TLS with Redis, is read from. */
function secretFiles(given: Given): string[] {
  const ofSecrets = Object.entries(settings)
    .filter(([, { secret }]) => secret)
    .map(([name]) => `${name}_FILE`);
  const ofTls = Object.keys(settings).filter((name) => /^REDIS_TLS_.*_FILE$/.test(name));
  return [...ofSecrets, ...ofTls].flatMap((name) => given.get(name)?.text ?? []);
}

/** The file that a secret is read from; undefined when the secret itself was given, which wins. */
function fileOf(name: string, given: Given): string | undefined {
  return given.has(name) ? undefined : given.get(`${name}_FILE`)?.text;
}

/** The server starts in a folder of its own, so a relative path is none there; a bare name is looked up. */
function serverBin(named: string | undefined, cwd: string): string | undefined {
  return named?.includes('/') ? absolute(named, cwd) : named;
}

function absolute(path: string, cwd: string): string {
  return isAbsolute(path) ? path : join(cwd, path);
}

function deepFreeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === 'object' && part !== null) deepFreeze(part);
  }
  return Object.freeze(value);
}
