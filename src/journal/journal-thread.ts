/**
 * The journal's own thread: SQLite is synchronous, and a disk that takes 200 ms for an fsync must
 * hold up neither a pulse nor a handler. One request at a time, in order. Has no timers: between
 * requests it waits for the port and costs nothing.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../time.ts';
import { openStore } from './store.ts';
import type { Request, ThreadOptions } from './thread-protocol.ts';

const store = openStore(workerData as ThreadOptions, systemClock, (reply) =>
  parentPort?.postMessage(reply),
);
if (store === undefined) parentPort?.close();
else parentPort?.on('message', (request: Request) => store.serve(request));
