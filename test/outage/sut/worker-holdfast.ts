/** BullMQ's Workers over Holdfast's backend, with a journal on disk. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Job, Worker } from 'bullmq';
import { openJournal } from '../../../src/journal/journal.ts';
import { ResilientTarget } from '../../../src/queue/resilient-target.ts';
import { systemClock } from '../../../src/time.ts';
import { testConfig } from '../../support/config.ts';
import { createHandler } from './handler.ts';
import { createLog, installHooks } from './process-hooks.ts';
import { readSettings } from './settings.ts';

/** What the target gets to say goodbye, ms. */
const GOODBYE_MS = 1000;

const settings = readSettings();
const log = createLog(settings);
const handler = createHandler(settings);
const base = testConfig();
const config = testConfig({
  replica: settings.workerId,
  dataDir: settings.dataDir,
  redis: { ...base.redis, ...settings.redis },
});

const journal = await openJournal({
  ...config.resilience.journal,
  dir: settings.dataDir,
  replica: settings.workerId,
  clock: systemClock,
  log,
});
const target = new ResilientTarget({ config, log, journal });
await target.start();

const runs = new Map<string, AbortController>();
target.onLock(({ type, queue, jobId }) => {
  const isAborted = type === 'lost' || settings.onLeaseLost === 'abort';
  if (isAborted) runs.get(`${queue}:${jobId}`)?.abort(new Error(`lock ${type}`));
});
const run = async (job: Job): Promise<unknown> => {
  const name = `${job.queueName}:${job.id}`;
  const controller = new AbortController();
  runs.set(name, controller);
  try {
    return await handler(job, controller.signal);
  } finally {
    if (runs.get(name) === controller) runs.delete(name);
  }
};

const workers = Object.entries(settings.queues).map(([queue, concurrency]) => {
  target.setLeasePolicy(queue, settings.onLeaseLost);
  const worker = new Worker(
    queue,
    run,
    {
      connection: target.connection,
      concurrency,
      lockDuration: settings.lockDurationMs,
      stalledInterval: settings.stalledIntervalMs,
      maxStalledCount: 5,
    },
    target.backendFactory,
  );
  worker.on('error', (error) => log.error({ event: 'error', queue, err: error }, error.message));
  return worker;
});

installHooks(settings, log, async () => {
  const closed = Promise.all(workers.map((worker) => worker.close()));
  await Promise.race([closed, sleep(settings.shutdownGraceMs)]);
  await target.stop(systemClock.now() + GOODBYE_MS);
  await journal.close();
});
log.info({ event: 'worker.started' }, 'started');
