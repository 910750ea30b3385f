/**
 * Every setting, once: its variable, what it takes, its default and what it is for. Parsing
 * (`setting-kinds.ts`), the `config` command and docs/configuration.md follow from this table, which is flat
 * and may be long.
 */
import { z } from 'zod';
import { kinds, list, names, oneOf, origin, WEBHOOK_SECRET } from './setting-kinds.ts';

/** A setting as a variable of the environment gives it: text in, value out. */
export interface Setting {
  /** What is allowed, as a phrase that ends "…; <allowed>". */
  allowed: string;
  /** Used when the variable is absent or empty; text, as a person would write it. */
  default: string | undefined;
  text: string;
  /** Never shown; also read from `<NAME>_FILE`. */
  secret: boolean;
  group: Group;
  parse: z.ZodType<unknown, string>;
}

export type Group =
  | 'Service'
  | 'Redis'
  | 'Work'
  | 'HTTP'
  | 'Metrics and traces'
  | 'Logs'
  | 'Outages'
  | 'Journal'
  | 'faq worker'
  | 'webhook worker';

/** One process cannot run more at a time; a larger number is a slip of the keyboard. */
const CONCURRENCY_MAX = 10_000;

type Row = Omit<Setting, 'secret' | 'group' | 'default'> & { default?: string; secret?: true };

function group(name: Group, rows: Record<string, Row>): Record<string, Setting> {
  return Object.fromEntries(
    Object.entries(rows).map(([variable, row]) => [
      variable,
      { ...row, default: row.default, secret: row.secret ?? false, group: name },
    ]),
  );
}

export const settings: Readonly<Record<string, Setting>> = {
  ...group('Service', {
    NODE_ENV: {
      ...oneOf('development', 'test', 'production'),
      default: 'development',
      text: 'In production a Redis must be named; the embedded one is for development.',
    },
    REPLICA: {
      ...kinds.text,
      text: 'Name of this replica in logs and in the fleet. Default: the host name.',
    },
    DATA_DIR: {
      ...kinds.text,
      default: '.holdfast',
      text: 'Folder for what this replica keeps on disk: embedded Redis, journal.',
    },
    CONFIG_DIR: {
      ...kinds.text,
      default: 'config',
      text: 'Folder of hooks.ts and schedules.json.',
    },
    SHUTDOWN_GRACE: {
      ...kinds.duration('0s', '24h'),
      default: '25s',
      text: 'After SIGTERM running handlers may take this long; then they are aborted.',
    },
  }),
  ...group('Redis', {
    REDIS_URL: {
      ...kinds.text,
      secret: true,
      text: '`redis://`, `rediss://` or `unix://`. Without it (and outside production) a Redis is brought along.',
    },
    REDIS_SENTINELS: { ...kinds.hosts, text: 'Addresses of Sentinels, instead of REDIS_URL.' },
    REDIS_SENTINEL_NAME: { ...kinds.text, text: 'Name of the master that the Sentinels watch.' },
    REDIS_SENTINEL_USERNAME: {
      ...kinds.text,
      text: 'User of the Sentinels, where they have ACLs.',
    },
    REDIS_SENTINEL_PASSWORD: { ...kinds.text, secret: true, text: 'Password of the Sentinels.' },
    REDIS_CLUSTER_NODES: { ...kinds.hosts, text: 'Some nodes of a Cluster, instead of REDIS_URL.' },
    REDIS_USERNAME: { ...kinds.text, text: 'User name, if it is not part of REDIS_URL.' },
    REDIS_PASSWORD: {
      ...kinds.text,
      secret: true,
      text: 'Password, if it is not part of REDIS_URL.',
    },
    REDIS_DB: {
      ...kinds.count(0, 1023),
      text: 'Database number; a Cluster has only 0.',
    },
    REDIS_TLS: {
      ...kinds.flag,
      default: 'false',
      text: 'TLS to Sentinel or Cluster nodes; with a URL say `rediss://`.',
    },
    REDIS_TLS_CA_FILE: { ...kinds.text, text: 'Certificates of the authorities that are trusted.' },
    REDIS_TLS_CERT_FILE: { ...kinds.text, text: 'Client certificate.' },
    REDIS_TLS_KEY_FILE: { ...kinds.text, text: "Client certificate's key." },
    REDIS_TLS_SERVER_NAME: { ...kinds.text, text: 'Server name to ask for and to verify (SNI).' },
    REDIS_TLS_REJECT_UNAUTHORIZED: {
      ...kinds.flag,
      default: 'true',
      text: 'Whether a certificate that cannot be verified is refused.',
    },
    REDIS_CONNECT_TIMEOUT: {
      ...kinds.duration('50ms', '5m'),
      default: '3s',
      text: 'Time to connect.',
    },
    QUEUE_PREFIX: {
      ...kinds.text,
      default: 'bull',
      text: "BullMQ's key prefix; `{bull}` for a Cluster.",
    },
    REDIS_SERVER_BIN: {
      ...kinds.text,
      text: 'The redis-server or valkey-server for the embedded default. Default: the one of PATH.',
    },
  }),
  ...group('Work', {
    WORKERS_DIR: { ...kinds.text, default: 'workers', text: 'Folder of the handlers.' },
    QUEUES: {
      // Separators alone, as of variables that are not set, would be all queues.
      parse: list.pipe(z.array(z.string()).min(1)),
      allowed: 'at least one name, several separated by commas; not set for all',
      default: '',
      text: 'Consume only these queues. Default: all that have a handler.',
    },
    CONCURRENCY: {
      ...kinds.count(1, CONCURRENCY_MAX),
      default: '10',
      text: 'Jobs of one queue that run here at the same time; CONCURRENCY_<QUEUE> for one queue.',
    },
    LOCK_DURATION: {
      ...kinds.duration('1s', '24h'),
      default: '30s',
      text: "BullMQ's lockDuration.",
    },
    STALLED_INTERVAL: {
      ...kinds.duration('1s', '24h'),
      default: '30s',
      text: "BullMQ's stalledInterval.",
    },
    UNKNOWN_JOB_GRACE: {
      ...kinds.duration('0s', '20d'),
      default: '10m',
      text: 'A job that this version cannot run is put off for so long before it fails.',
    },
    MAX_JOB_BYTES: {
      ...kinds.bytes('1K', '256M'),
      default: '1M',
      text: 'Largest payload of a job.',
    },
    MAX_RESULT_BYTES: {
      ...kinds.bytes('1K', '256M'),
      default: '1M',
      text: 'Largest result of a job.',
    },
    KEEP_COMPLETED_AGE: {
      ...kinds.duration('0s', '3650d'),
      default: '24h',
      text: 'Completed jobs are kept so long …',
    },
    KEEP_COMPLETED_COUNT: {
      ...kinds.count(0, 1_000_000_000),
      default: '1000',
      text: '… and so many of a queue.',
    },
    KEEP_FAILED_AGE: {
      ...kinds.duration('0s', '3650d'),
      default: '7d',
      text: 'Failed jobs are kept so long …',
    },
    KEEP_FAILED_COUNT: {
      ...kinds.count(0, 1_000_000_000),
      default: '10000',
      text: '… and so many of a queue.',
    },
  }),
  ...group('HTTP', {
    HTTP: { ...kinds.flag, default: 'true', text: 'Whether the service listens for HTTP.' },
    HTTP_HOST: { ...kinds.text, default: '127.0.0.1', text: 'Address to listen on.' },
    HTTP_PORT: { ...kinds.port, default: '8080', text: 'Port to listen on.' },
    HTTP_TOKEN: {
      ...kinds.text,
      secret: true,
      text: 'Bearer token that may do everything; required when HTTP_HOST is not a loopback address, and then at least 16 characters, as the others.',
    },
    HTTP_WRITE_TOKEN: {
      ...kinds.text,
      secret: true,
      text: 'Another one, for producers: may add jobs and read.',
    },
    HTTP_READ_TOKEN: {
      ...kinds.text,
      secret: true,
      text: 'Another one, for screens and monitoring: may only read.',
    },
    HTTP_PUBLIC_URL: {
      parse: origin,
      allowed: 'an origin such as https://jobs.example.com',
      text: 'How browsers reach the service through a proxy; https makes cookies `Secure`.',
    },
    HTTP_ALLOWED_HOSTS: {
      parse: names,
      allowed: 'names without a port, separated by commas',
      default: '',
      text: 'Names under which browsers may ask, beside `localhost`, addresses and HTTP_PUBLIC_URL; of these a DNS rebinding is feared. Other programs may use any name.',
    },
    HTTP_RATE_MAX: {
      ...kinds.count(1, 1_000_000),
      default: '2000',
      text: 'Requests per second of one address; more are answered 429.',
    },
  }),
  ...group('Metrics and traces', {
    METRICS_PORT: {
      ...kinds.port,
      text: 'A port of its own for `/metrics`, without a token. Default: only with the rest of HTTP.',
    },
    METRICS_HOST: {
      ...kinds.text,
      default: '127.0.0.1',
      text: 'Address of that port; for a Prometheus elsewhere e.g. 0.0.0.0, in a network that you trust.',
    },
    OTEL_EXPORTER_OTLP_ENDPOINT: {
      parse: z.url({ protocol: /^https?$/ }),
      allowed: 'a URL such as http://127.0.0.1:4318',
      text: 'Where traces are sent (OTLP over HTTP, `/v1/traces` is added). Default: none are made.',
    },
    OTEL_SERVICE_NAME: {
      ...kinds.text,
      default: 'holdfast',
      text: 'Name of this service in traces.',
    },
  }),
  ...group('Logs', {
    LOG_LEVEL: {
      ...oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal'),
      default: 'info',
      text: 'Least level that is written.',
    },
    LOG_FORMAT: {
      ...oneOf('auto', 'json', 'pretty'),
      default: 'auto',
      text: 'auto: pretty on a terminal, JSON lines elsewhere.',
    },
  }),
  ...group('Outages', {
    PULSE_INTERVAL: {
      ...kinds.duration('50ms', '1m'),
      default: '700ms',
      text: 'A command watches Redis this often; twice as often while jobs run here.',
    },
    PULSE_TIMEOUT: {
      ...kinds.duration('100ms', '1m'),
      default: '2s',
      text: 'Without an answer for so long Redis is frozen.',
    },
    ATTEMPT_BUDGET: {
      ...kinds.count(1, 1_000_000),
      default: '1000',
      text: 'Probes per second of the whole fleet.',
    },
    BACKOFF_BASE: {
      ...kinds.duration('1ms', '1m'),
      default: '50ms',
      text: 'First pause between two probes, at most.',
    },
    BACKOFF_CAP_MIN: {
      ...kinds.duration('10ms', '10m'),
      default: '250ms',
      text: 'Longest pause for a small fleet.',
    },
    BACKOFF_CAP_MAX: {
      ...kinds.duration('10ms', '1h'),
      default: '15s',
      text: 'Longest pause for any fleet.',
    },
    ROLLBACK_WINDOW: {
      ...kinds.duration('0s', '1h'),
      default: '10s',
      text: 'Jobs and outcomes of this time are written again if a restart or failover lost them.',
    },
    ENQUEUE_TIMEOUT: {
      ...kinds.duration('50ms', '5m'),
      default: '2s',
      text: 'Whoever enqueues is answered within this time, whatever Redis does.',
    },
    DURABILITY: {
      ...oneOf('normal', 'strict'),
      default: 'normal',
      text: 'strict: accepted jobs are written to the journal first and kept there for the rollback window.',
    },
    SLOW_START: {
      ...kinds.duration('0s', '10m'),
      default: '2s',
      text: 'After an outage concurrency rises over this time.',
    },
    WEDGE_AFTER: {
      ...kinds.duration('1s', '24h'),
      default: '30s',
      text: 'A queue with due jobs and free slots from which nothing was taken for so long is rebuilt.',
    },
  }),
  ...group('Journal', {
    JOURNAL: {
      ...oneOf('disk', 'memory'),
      default: 'disk',
      text: 'Where jobs and outcomes wait while Redis is away; memory does not survive the process.',
    },
    JOURNAL_DIR: { ...kinds.text, text: 'Default: the folder `journal` in DATA_DIR.' },
    JOURNAL_BYTES_MAX: {
      ...kinds.bytes('1M', '1024G'),
      text: 'All entries together. Default: 512M on disk, 64M in memory.',
    },
    JOURNAL_ENTRIES_MAX: {
      ...kinds.count(1, 1_000_000_000),
      default: '1000000',
      text: 'Number of entries.',
    },
  }),
  ...group('faq worker', {
    SOURCES_ROOTS: {
      ...kinds.list,
      default: 'docs',
      text: 'Folders that questions may be answered from.',
    },
    OUTPUT_DIR: { ...kinds.text, default: 'output', text: 'Folder of the documents.' },
    LLM_BASE_URL: {
      parse: z.url({ protocol: /^https?$/ }),
      allowed: 'a URL such as http://127.0.0.1:11434/v1',
      text: 'An OpenAI-compatible endpoint; without it documents are assembled.',
    },
    LLM_API_KEY: { ...kinds.text, secret: true, text: 'Its key.' },
    LLM_MODEL: { ...kinds.text, default: 'gpt-4o-mini', text: 'Its model.' },
    LLM_TIMEOUT: { ...kinds.duration('1s', '30m'), default: '2m', text: 'Time for one answer.' },
  }),
  ...group('webhook worker', {
    WEBHOOK_SECRET: {
      parse: z.string().regex(WEBHOOK_SECRET),
      allowed: 'base64, as made by: echo "whsec_$(openssl rand -base64 32)"',
      secret: true,
      text: 'Signs webhooks (Standard Webhooks).',
    },
    WEBHOOK_ALLOW_UNSIGNED: {
      ...kinds.flag,
      default: 'false',
      text: 'Whether webhooks go out without a signature where WEBHOOK_SECRET is not set.',
    },
    WEBHOOK_ALLOW_HTTP: {
      ...kinds.flag,
      default: 'false',
      text: 'Whether plain http: is allowed.',
    },
    WEBHOOK_ALLOW_PRIVATE: {
      ...kinds.flag,
      default: 'false',
      text: 'Whether addresses that are not public are allowed.',
    },
  }),
};

/** `CONCURRENCY_EMAIL_OUT` is the concurrency of a queue whose name, in capitals, reads so. */
export const CONCURRENCY_PREFIX = 'CONCURRENCY_';
export function queueVariable(queue: string): string {
  return queue.toUpperCase().replace(/[^A-Z0-9]+/g, '_');
}
export const concurrencySetting = kinds.count(1, CONCURRENCY_MAX);
