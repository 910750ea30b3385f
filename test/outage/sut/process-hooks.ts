/** What both worker programs share: their log on stdout, crashes that are told, SIGTERM. */

import type { Logger } from 'pino';
import pino from 'pino';
import type { WorkerSettings } from './settings.ts';

/** Beyond the grace, the process ends by itself, ms. */
const LAST_RESORT_MS = 10_000;

export function createLog(settings: WorkerSettings): Logger {
  return pino({ base: { worker: settings.workerId } }, pino.destination({ dest: 1, sync: true }));
}

export function installHooks(
  settings: WorkerSettings,
  log: Logger,
  stop: () => Promise<void>,
): void {
  process.on('unhandledRejection', (error) => {
    log.error({ event: 'unhandledRejection', err: error }, 'a rejection that nobody handled');
  });
  process.on('uncaughtExceptionMonitor', (error) => {
    log.error({ event: 'uncaughtException', err: error }, 'an exception that nobody caught');
  });
  process.once('SIGTERM', () => {
    setTimeout(() => process.exit(70), settings.shutdownGraceMs + LAST_RESORT_MS).unref();
    void stop().then(() => process.exit(0));
  });
}
