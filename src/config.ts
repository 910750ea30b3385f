/**
 * What the service is told from outside: environment and `config/`, merged once at start into one
 * validated, frozen value. Nothing else in the code reads `process.env`.
 */

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { config as readDotenv } from 'dotenv';
import { misread, unknownNames } from './config-hints.ts';
import { ConfigError, type ConfigProblem } from './errors.ts';
import { redactText } from './redaction.ts';
import { redactRedisUrl } from './redis/address.ts';
import { CONCURRENCY_PREFIX, concurrencySetting, settings } from './settings.ts';

/** How to reach Redis. Exactly one of `url`, `sentinels`, `clusterNodes` is set once resolved. */
export interface RedisConfig {
  /** `redis://`, `rediss://` or `unix://`; undefined until the embedded server has an address. */
  url: string | undefined;
  sentinels: readonly { host: string; port: number }[];
  sentinelName: string | undefined;
  sentinelPassword: string | undefined;
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
      | { baseUrl: string; apiKey: string | undefined; model: string; timeoutMs: number }
      | undefined;
  };
  webhook: { secret: string | undefined; allowHttp: boolean; allowPrivate: boolean };
}

/** Where an effective value came from. */
export type ValueSource = 'default' | 'environment' | '.env' | 'file';

export interface EffectiveSetting {
  name: string;
  /** As text; secrets are hidden. */
  value: string;
  source: ValueSource;
}

export interface LoadedConfig {
  config: Config;
  effective: EffectiveSetting[];
  /** What looks like a mistake but is not fatal, as sentences. */
  warnings: string[];
}

export interface LoadOptions {
  /** The environment; default process.env. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Folder of `.env` and of relative paths; default the working folder. */
  cwd?: string;
  /** Values that win over the environment, by variable: what the command line said. */
  overrides?: Readonly<Record<string, string | undefined>>;
}

const HIDDEN = '***';

/**
 * The configuration of this process.
 * @throws ConfigError with every mistake at once
 */
export function loadConfig(options: LoadOptions = {}): LoadedConfig {
  const cwd = options.cwd ?? process.cwd();
  const given = collect(options, cwd);
  const problems: ConfigProblem[] = [];
  const values: Record<string, unknown> = {};
  const effective: EffectiveSetting[] = [];
  for (const [name, setting] of Object.entries(settings)) {
    const found = given.get(name) ?? fromFile(name, setting.secret, given, problems);
    const text = found?.text ?? setting.default;
    if (text === undefined) continue;
    const parsed = setting.parse.safeParse(text);
    const shown = show(name, text, setting.secret);
    if (parsed.success) values[name] = parsed.data;
    else if (text === '' && setting.default === '') values[name] = [];
    else
      problems.push({
        where: name,
        value: JSON.stringify(shown),
        allowed: `expected ${setting.allowed}`,
      });
    effective.push({ name, value: shown, source: found?.source ?? 'default' });
  }
  const passwordFile = given.get('REDIS_PASSWORD_FILE');
  if (passwordFile !== undefined) {
    const { text: value, source } = passwordFile;
    // Its content is read at every connect and wins over the password itself.
    const shown = { name: 'REDIS_PASSWORD_FILE', value, source };
    effective.splice(effective.findIndex(({ name }) => name === 'REDIS_PASSWORD') + 1, 0, shown);
  }
  const perQueue = concurrencyPerQueue(given, effective, problems);
  checkRedis(values, problems);
  checkTokens(values, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    config: deepFreeze(assemble(values, perQueue, given, cwd)),
    effective,
    warnings: unknownNames([...given].map(([name, { text }]) => [name, text])),
  };
}

type Given = Map<string, { text: string; source: ValueSource }>;

/** `.env` below the environment below the command line; an empty value is as good as none. */
function collect(options: LoadOptions, cwd: string): Given {
  const given: Given = new Map();
  const dotenv: Record<string, string> = {};
  readDotenv({ path: join(cwd, '.env'), processEnv: dotenv, quiet: true });
  const add = (from: Readonly<Record<string, string | undefined>>, source: ValueSource) => {
    for (const [name, text] of Object.entries(from)) {
      if (text !== undefined && text !== '') given.set(name, { text, source });
    }
  };
  add(dotenv, '.env');
  add(options.env ?? process.env, 'environment');
  add(options.overrides ?? {}, 'environment');
  return given;
}

/** Every secret may stand in a file, as container platforms mount them. */
function fromFile(
  name: string,
  secret: boolean,
  given: Given,
  problems: ConfigProblem[],
): { text: string; source: ValueSource } | undefined {
  const path = given.get(`${name}_FILE`)?.text;
  // The password's file is read again at every connect, so it is not read here.
  if (!secret || path === undefined || name === 'REDIS_PASSWORD') return undefined;
  try {
    return { text: readFileSync(path, 'utf8').trim(), source: 'file' };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable';
    problems.push({
      where: `${name}_FILE`,
      value: path,
      allowed: `the file cannot be read (${code})`,
    });
    return undefined;
  }
}

function show(name: string, text: string, secret: boolean): string {
  if (name === 'REDIS_URL') return redactRedisUrl(text);
  return secret ? HIDDEN : redactText(text);
}

function concurrencyPerQueue(
  given: Given,
  effective: EffectiveSetting[],
  problems: ConfigProblem[],
): Record<string, number> {
  const perQueue: Record<string, number> = {};
  for (const [name, { text, source }] of given) {
    if (!name.startsWith(CONCURRENCY_PREFIX)) continue;
    const parsed = concurrencySetting.parse.safeParse(text);
    if (parsed.success) perQueue[name.slice(CONCURRENCY_PREFIX.length)] = parsed.data;
    else
      problems.push({
        where: name,
        value: text,
        allowed: `expected ${concurrencySetting.allowed}`,
      });
    effective.push({ name, value: text, source });
  }
  return perQueue;
}

/** One way to Redis, and an address that can be one. */
function checkRedis(values: Record<string, unknown>, problems: ConfigProblem[]): void {
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
function checkTokens(values: Record<string, unknown>, problems: ConfigProblem[]): void {
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

function assemble(
  values: Record<string, unknown>,
  perQueue: Record<string, number>,
  given: Given,
  cwd: string,
): Config {
  const get = <T>(name: string) => values[name] as T;
  const path = (name: string) => absolute(get<string>(name), cwd);
  const dataDir = path('DATA_DIR');
  const url = get<string | undefined>('REDIS_URL');
  const tls = get<boolean>('REDIS_TLS') || (url?.startsWith('rediss:') ?? false);
  const seconds = (name: string) => Math.round(get<number>(name) / 1000);
  const format = get<'auto' | 'json' | 'pretty'>('LOG_FORMAT');
  return {
    environment: get('NODE_ENV'),
    replica: get<string | undefined>('REPLICA') ?? hostname(),
    version: packageVersion(),
    dataDir,
    redis: {
      url,
      sentinels: get<Config['redis']['sentinels'] | undefined>('REDIS_SENTINELS') ?? [],
      sentinelName: get('REDIS_SENTINEL_NAME'),
      sentinelPassword: get('REDIS_SENTINEL_PASSWORD'),
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
    redisServerBin: get('REDIS_SERVER_BIN'),
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
        bytesMax: get('JOURNAL_BYTES_MAX'),
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
              model: get('LLM_MODEL'),
              timeoutMs: get('LLM_TIMEOUT'),
            },
    },
    webhook: {
      secret: get('WEBHOOK_SECRET'),
      allowHttp: get('WEBHOOK_ALLOW_HTTP'),
      allowPrivate: get('WEBHOOK_ALLOW_PRIVATE'),
    },
  };
}

/** Every file that a secret, or TLS with Redis, is read from. */
function secretFiles(given: Given): string[] {
  const ofSecrets = Object.entries(settings)
    .filter(([, { secret }]) => secret)
    .map(([name]) => `${name}_FILE`);
  const ofTls = Object.keys(settings).filter((name) => /^REDIS_TLS_.*_FILE$/.test(name));
  return [...ofSecrets, ...ofTls].flatMap((name) => given.get(name)?.text ?? []);
}

function absolute(path: string, cwd: string): string {
  return isAbsolute(path) ? path : join(cwd, path);
}

export function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function deepFreeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === 'object' && part !== null) deepFreeze(part);
  }
  return Object.freeze(value);
}
