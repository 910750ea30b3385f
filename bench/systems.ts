/**
 * What is measured: plain BullMQ and Holdfast, as the arguments that BullMQ's own constructors take.
 * Everything else (jobs, handlers, concurrency, Redis) is the same code for both.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BackendFactory,
  type ConnectionOptions,
  createRedisBackend,
  type RedisQueueBackend,
} from 'bullmq';
import pino from 'pino';
import { openJournal } from '../src/journal/journal.ts';
import { ResilientTarget } from '../src/queue/resilient-target.ts';
import { systemClock } from '../src/time.ts';
import { testConfig } from '../test/support/config.ts';

export const SYSTEM_NAMES = ['plain', 'holdfast'] as const;
export type SystemName = (typeof SYSTEM_NAMES)[number];

/** How BullMQ reaches Redis in one of the systems. */
export interface System {
  connection: ConnectionOptions;
  backendFactory: BackendFactory<RedisQueueBackend>;
  /** For a Queue that adds: Holdfast's own numbers its adds and keeps them through outages. */
  producerFactory: BackendFactory<RedisQueueBackend>;
  stop(): Promise<void>;
}

/** Ready when it resolves: connecting is not what is measured. */
export function openSystem(name: SystemName, redisUrl: string): Promise<System> {
  return name === 'plain' ? openPlain(redisUrl) : openHoldfast(redisUrl);
}

async function openPlain(redisUrl: string): Promise<System> {
  return {
    connection: { url: redisUrl },
    backendFactory: createRedisBackend,
    producerFactory: createRedisBackend,
    stop: async () => {},
  };
}

/** As in production: pulse, fences and a journal on disk. */
async function openHoldfast(redisUrl: string): Promise<System> {
  const dataDir = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  const base = testConfig({ dataDir });
  const config = {
    ...base,
    redis: { ...base.redis, url: redisUrl },
    resilience: {
      ...base.resilience,
      journal: { ...base.resilience.journal, dir: join(dataDir, 'journal') },
    },
  };
  const log = pino({ level: 'warn' }, pino.destination(2));
  const journal = await openJournal({
    ...config.resilience.journal,
    replica: config.replica,
    clock: systemClock,
    log,
  });
  const target = new ResilientTarget({ config, log, journal });
  const closed = Promise.withResolvers<void>();
  target.onChange(({ breaker }) => {
    if (breaker === 'closed') closed.resolve();
  });
  await target.start();
  if (target.state().breaker !== 'closed') await closed.promise;
  return {
    connection: target.connection,
    backendFactory: target.backendFactory,
    producerFactory: target.producerFactory,
    async stop() {
      await target.stop(performance.now() + 2000);
      await journal.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
