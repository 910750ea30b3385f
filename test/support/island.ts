/** Runtimes whose Redis dies, for tests of what runs from the journal meanwhile. */
import type { Queue } from 'bullmq';
import { expect } from 'vitest';
import type { WorkerDefinition } from '../../src/worker/definition.ts';
import type { RedisServer } from './redis-server.ts';
import { startRuntime, type TestRuntime, type TestRuntimeOptions } from './worker-runtime.ts';

/** A runtime that has seen what the queues' keys say, and whose Redis is dead. */
export async function cutOff(
  redis: RedisServer,
  definitions: WorkerDefinition[],
  options: TestRuntimeOptions = {},
): Promise<TestRuntime> {
  const test = await startRuntime(redis.url, definitions, options);
  await ready(test);
  await kill(redis, test);
  return test;
}

export async function ready({ target }: TestRuntime): Promise<void> {
  await expect.poll(() => target.state().breaker).toBe('closed');
  // The look at the queue's keys follows at once: one more round trip is behind it.
  await target.generation()!.client.ping();
  await target.generation()!.client.ping();
}

export async function kill(redis: RedisServer, { target }: TestRuntime): Promise<void> {
  await redis.kill();
  await expect.poll(() => target.state().breaker, { timeout: 5000 }).not.toBe('closed');
}

/** Redis is back, and has these jobs in this state. */
export async function restored(
  redis: RedisServer,
  queue: Queue,
  ids: string[],
  state: string,
): Promise<void> {
  await redis.restart();
  await expect
    .poll(() => Promise.all(ids.map((id) => queue.getJobState(id))), { timeout: 15_000 })
    .toEqual(ids.map(() => state));
}
