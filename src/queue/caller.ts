/**
 * Who asks. What a handler asks of Redis waits while Redis is away, but no longer than the handler may: its
 * run's signal ends the waiting. Kept with the asynchronous context, since a handler may ask anything of
 * any job, and BullMQ passes no signal on.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface Caller {
  readonly signal: AbortSignal;
}

const callers = new AsyncLocalStorage<Caller>();

/** What `work` asks of a worker's backend ends with the caller's signal. */
export function asCaller<T>(caller: Caller, work: () => T): T {
  return callers.run(caller, work);
}

/** The signal of the run that the present code belongs to. */
export function callerSignal(): AbortSignal | undefined {
  return callers.getStore()?.signal;
}
