/** A complete configuration for tests of single parts; each test overrides what it is about. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config, RedisConfig } from '../../src/config.ts';

/** How Redis is reached: nothing is said but what the test says. */
export function redisConfig(changes: Partial<RedisConfig> = {}): RedisConfig {
  return {
    url: undefined,
    urlFile: undefined,
    sentinels: [],
    sentinelName: undefined,
    sentinelUsername: undefined,
    sentinelPassword: undefined,
    sentinelPasswordFile: undefined,
    clusterNodes: [],
    username: undefined,
    password: undefined,
    passwordFile: undefined,
    db: undefined,
    tls: undefined,
    prefix: 'bull',
    connectTimeoutMs: 2000,
    ...changes,
  };
}

/** As by default, with quick backoff. */
export const resilience: Omit<Config['resilience'], 'journal'> = {
  pulseIntervalMs: 700,
  pulseTimeoutMs: 2000,
  attemptBudget: 1000,
  backoffBaseMs: 50,
  backoffCapMinMs: 250,
  backoffCapMaxMs: 15_000,
  rollbackWindowMs: 10_000,
  enqueueTimeoutMs: 2000,
  durability: 'normal',
  slowStartMs: 2000,
  wedgeAfterMs: 30_000,
};

export function testConfig(overrides: Partial<Config> = {}): Config {
  const dataDir = join(tmpdir(), 'holdfast-test-data');
  return {
    environment: 'test',
    replica: 'test-1',
    version: '0.0.0-test',
    dataDir,
    redis: redisConfig(),
    redisServerBin: undefined,
    secretFiles: [],
    workersDir: 'workers',
    configDir: 'config',
    queues: [],
    concurrency: { default: 10, perQueue: {} },
    lockDurationMs: 30_000,
    stalledIntervalMs: 30_000,
    retention: {
      completed: { age: 86_400, count: 1000 },
      failed: { age: 604_800, count: 10_000 },
    },
    unknownJobGraceMs: 600_000,
    jobBytesMax: 1024 * 1024,
    resultBytesMax: 1024 * 1024,
    shutdownGraceMs: 5000,
    http: {
      enabled: true,
      host: '127.0.0.1',
      port: 0,
      token: undefined,
      writeToken: undefined,
      readToken: undefined,
      publicUrl: undefined,
      allowedHosts: [],
      ratePerSecondMax: 100_000,
    },
    metrics: { host: '127.0.0.1', port: undefined },
    tracing: { endpoint: undefined, serviceName: 'holdfast' },
    log: { level: 'fatal', format: 'json' },
    resilience: {
      ...resilience,
      journal: {
        dir: join(dataDir, 'journal'),
        bytesMax: 64 * 1024 * 1024,
        entriesMax: 100_000,
        mode: 'disk',
      },
    },
    faq: { sourcesRoots: ['docs'], outputDir: join(dataDir, 'output'), llm: undefined },
    webhook: {
      secret: undefined,
      secretFile: undefined,
      allowUnsigned: false,
      allowHttp: false,
      allowPrivate: false,
    },
    ...overrides,
  };
}

/** For commands that look into the journals below `dir`. */
export function journalConfig(dir: string, port = 1): Partial<Config> {
  const { resilience, redis } = testConfig();
  return {
    dataDir: dir,
    redis: { ...redis, url: `redis://127.0.0.1:${port}` },
    resilience: { ...resilience, journal: { ...resilience.journal, mode: 'disk', dir } },
  };
}
