/**
 * Plain BullMQ as most people run it: the baseline that shows that the matrix sees what is lost and run
 * twice.
 */
import { Worker } from 'bullmq';
import { createHandler } from './handler.ts';
import { createLog, installHooks } from './process-hooks.ts';
import { readSettings } from './settings.ts';

const settings = readSettings();
const log = createLog(settings);
const handler = createHandler(settings);

const workers = Object.entries(settings.queues).map(([queue, concurrency]) => {
  const worker = new Worker(queue, (job) => handler(job), {
    connection: { url: settings.redis.url ?? '' },
    concurrency,
    lockDuration: settings.lockDurationMs,
    stalledInterval: settings.stalledIntervalMs,
    maxStalledCount: 5,
  });
  worker.on('error', (error) => log.error({ event: 'error', queue, err: error }, error.message));
  return worker;
});
installHooks(settings, log, async () => {
  await Promise.all(workers.map((worker) => worker.close()));
});
log.info({ event: 'worker.started' }, 'started');
