/**
 * A real BullMQ Job with nothing behind it but memory: for tests of handlers. What a handler may do
 * with its job without Redis works; all else says so.
 */
import { type IQueueBackend, Job, type JobsOptions, type MinimalQueue } from 'bullmq';

export interface MemoryJobInput {
  queue: string;
  name: string;
  data: unknown;
  id: string;
  options: JobsOptions;
  /** Attempts that failed before this one. */
  attemptsMade: number;
  /** Results of the children of a flow, by job key. */
  children: Readonly<Record<string, unknown>>;
}

export interface MemoryJob {
  job: Job;
  /** Lines of `job.log()`. */
  lines: string[];
}

export function memoryJob(input: MemoryJobInput): MemoryJob {
  const lines: string[] = [];
  const known = {
    updateProgress: async () => {},
    updateData: async () => {},
    addLog: async (_id: string, line: string) => lines.push(line),
    getProcessedChildrenValues: async () =>
      Object.fromEntries(
        Object.entries(input.children).map(([key, value]) => [key, JSON.stringify(value)]),
      ),
    getIgnoredChildrenFailures: async () => ({}),
  };
  const backend = new Proxy(known, {
    get(target, method) {
      if (Object.hasOwn(target, method)) return target[method as keyof typeof target];
      return () => Promise.reject(new Error(`${String(method)}() needs Redis: test it with one.`));
    },
  }) as unknown as IQueueBackend;
  const toKey = (type: string) => `bull:${input.queue}:${type}`;
  const queue: MinimalQueue = {
    name: input.queue,
    qualifiedName: `bull:${input.queue}`,
    keys: {},
    toKey,
    opts: {},
    closing: undefined,
    backend,
    emit: () => false,
    on: () => queue,
    removeListener: () => queue,
    waitUntilReady: async () => {},
    trace: async (...[, , , callback]: Parameters<MinimalQueue['trace']>) => await callback(),
  } as unknown as MinimalQueue;
  const job = new Job(queue, input.name, input.data, input.options, input.id);
  job.attemptsMade = input.attemptsMade;
  job.attemptsStarted = input.attemptsMade + 1;
  job.processedOn = job.timestamp;
  job.token = 'test';
  return { job, lines };
}
