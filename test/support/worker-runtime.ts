/** The worker runtime over a real target, in this process, with its log at hand. */
import { EventEmitter, once } from 'node:events';
import { Queue, type QueueOptions } from 'bullmq';
import pino from 'pino';
import type { Config } from '../../src/config.ts';
import { createClient } from '../../src/queue/bullmq-client.ts';
import type { Client } from '../../src/queue/client.ts';
import { systemClock } from '../../src/time.ts';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import type { Hooks } from '../../src/worker/hooks.ts';
import { createWorkerRuntime, type WorkerRuntime } from '../../src/worker/runtime.ts';
import { testConfig } from './config.ts';
import { startTarget, type TestTarget, type TestTargetOptions } from './target.ts';

export type LogLine = Record<string, unknown> & { event: string };

export interface TestRuntime extends AsyncDisposable {
  runtime: WorkerRuntime;
  client: Client;
  target: TestTarget;
  lines: LogLine[];
  /** Resolves with the first line, past or future, that fits. */
  line(event: string, more?: Record<string, unknown>): Promise<LogLine>;
  stop(withinMs?: number): Promise<void>;
}

export interface TestRuntimeOptions extends Pick<TestTargetOptions, 'journalDir' | 'journal'> {
  config?: Partial<Config>;
  hooks?: Hooks;
  resilience?: Partial<Config['resilience']>;
  /** The lines of the target come too. */
  isTargetLogged?: boolean;
}

export async function startRuntime(
  url: string,
  definitions: WorkerDefinition[],
  options: TestRuntimeOptions = {},
): Promise<TestRuntime> {
  const lines: LogLine[] = [];
  const written = new EventEmitter().setMaxListeners(100);
  const log = pino(
    { level: 'debug', base: null },
    {
      write(text: string) {
        const line = JSON.parse(text) as LogLine;
        lines.push(line);
        written.emit('line', line);
      },
    },
  );
  const config = testConfig(options.config);
  const { journalDir, journal } = options;
  const target = await startTarget(url, {
    ...(journalDir === undefined ? {} : { journalDir }),
    ...(journal ? { journal } : {}),
    resilience: options.resilience ?? {},
    ...(options.isTargetLogged ? { log } : {}),
  });
  const client = createClient({ target, prefix: 'bull', jobBytesMax: config.jobBytesMax, log });
  const create = () =>
    createWorkerRuntime({
      definitions,
      config,
      target,
      client,
      log,
      clock: systemClock,
      ...(options.hooks ? { hooks: options.hooks } : {}),
    });
  let runtime: WorkerRuntime;
  try {
    runtime = create();
  } catch (error) {
    await target.stop(systemClock.now());
    throw error;
  }
  await runtime.start();
  const stop = async (withinMs = 3000) => await runtime.stop(systemClock.now() + withinMs);
  return {
    runtime,
    client,
    target,
    lines,
    stop,
    async line(event, more = {}) {
      const fits = (line: LogLine) =>
        line.event === event && Object.entries(more).every(([key, value]) => line[key] === value);
      for (;;) {
        const found = lines.find(fits);
        if (found) return found;
        await once(written, 'line');
      }
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await client.close();
      await target.stop(systemClock.now() + 1000);
    },
  };
}

/** A producer that knows nothing of Holdfast. */
export function plainQueue(
  url: string,
  name: string,
  options: Partial<QueueOptions> = {},
): Queue & AsyncDisposable {
  const queue = new Queue(name, { ...options, connection: { url } });
  queue.on('error', () => {});
  return Object.assign(queue, {
    async [Symbol.asyncDispose]() {
      await queue.close();
    },
  });
}
