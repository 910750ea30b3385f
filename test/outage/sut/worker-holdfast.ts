/** The service's own parts as `service.ts` puts them together, without HTTP and schedules. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from 'bullmq';
import { openJournal } from '../../../src/journal/journal.ts';
import { createClient } from '../../../src/queue/bullmq-client.ts';
import { ResilientTarget } from '../../../src/queue/resilient-target.ts';
import { systemClock } from '../../../src/time.ts';
import { defineWorker } from '../../../src/worker/definition.ts';
import { createWorkerRuntime } from '../../../src/worker/runtime.ts';
import { testConfig } from '../../support/config.ts';
import { createHandler } from './handler.ts';
import { createLog, installHooks } from './process-hooks.ts';
import { readSettings } from './settings.ts';

/** What client and target get to say goodbye, ms. */
const GOODBYE_MS = 1000;

const settings = readSettings();
const log = createLog(settings);
const handler = createHandler(settings);
const base = testConfig();
const config = testConfig({
  replica: settings.workerId,
  dataDir: settings.dataDir,
  redis: { ...base.redis, ...settings.redis },
  lockDurationMs: settings.lockDurationMs,
  stalledIntervalMs: settings.stalledIntervalMs,
  shutdownGraceMs: settings.shutdownGraceMs,
});

const journal = await openJournal({
  ...config.resilience.journal,
  dir: settings.dataDir,
  replica: settings.workerId,
  clock: systemClock,
  log,
});
const target = new ResilientTarget({ config, log, journal });
const client = createClient({
  target,
  prefix: config.redis.prefix,
  jobBytesMax: config.jobBytesMax,
  log,
});
const runtime = createWorkerRuntime({
  definitions: Object.entries(settings.queues).map(([queue, concurrency]) =>
    defineWorker({
      queue,
      concurrency,
      onLeaseLost: settings.onLeaseLost,
      handler: (job: Job, ctx) => handler(job, ctx.signal),
    }),
  ),
  config,
  target,
  client,
  log,
  clock: systemClock,
});
for (const queue of Object.keys(settings.queues)) {
  target.setLeasePolicy(queue, settings.onLeaseLost);
}
// The breaker itself, as the log's allowance may leave lines out.
target.onChange(({ breaker }) => log.info({ event: 'sut.breaker', breaker }));
await target.start();
await runtime.start();

installHooks(settings, log, async () => {
  await runtime.stop(systemClock.now() + settings.shutdownGraceMs);
  await Promise.race([client.close(), sleep(GOODBYE_MS)]);
  await target.stop(systemClock.now() + GOODBYE_MS);
  await journal.close();
});
log.info({ event: 'worker.started' }, 'started');
