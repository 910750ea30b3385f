/** The steps worker as a flow on a real Redis, run by the runtime that the service has. */
import { Queue } from 'bullmq';
import { defineWorker, type WorkerDefinition } from 'holdfast';
import { runHandler } from 'holdfast/testing';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createClient } from '../../src/queue/bullmq-client.ts';
import type { Client, JobView } from '../../src/queue/client.ts';
import { systemClock } from '../../src/time.ts';
import { createWorkerRuntime, type WorkerRuntime } from '../../src/worker/runtime.ts';
import steps from '../../workers/steps.ts';
import { testConfig } from '../support/config.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

let server: RedisServer;
let target: TestTarget;
let client: Client;
let runtime: WorkerRuntime;
const runs: string[] = [];
const opened = Promise.withResolvers<number>();

const workers: WorkerDefinition[] = [
  steps,
  defineWorker({
    queue: 'double',
    handler(job) {
      runs.push(job.id!);
      return (job.data.previous ?? job.data.n) * 2;
    },
  }),
  defineWorker({
    queue: 'gate',
    handler: (job) => (job.data.isOpen ? 1 : opened.promise),
  }),
  defineWorker({
    queue: 'broken',
    handler() {
      throw new Error('cannot');
    },
  }),
];

beforeAll(async () => {
  server = await startRedis();
  target = await startTarget(server.url);
  const log = pino({ level: 'silent' });
  client = createClient({ target, prefix: 'bull', jobBytesMax: 1e6, log });
  runtime = createWorkerRuntime({
    definitions: workers,
    config: testConfig(),
    target,
    client,
    log,
    clock: systemClock,
  });
  await runtime.start();
});
afterAll(async () => {
  await runtime.stop(systemClock.now() + 5000);
  await client.close();
  await target.stop(systemClock.now() + 1000);
  await server.stop();
});

async function end(id: string): Promise<JobView> {
  return await expect
    .poll(
      async () => {
        const job = await client.job('steps', id);
        return job && ['completed', 'failed'].includes(job.state) ? job : undefined;
      },
      { timeout: 10_000 },
    )
    .toBeDefined()
    .then(async () => (await client.job('steps', id))!);
}

const double = (n?: number) => ({ queue: 'double', data: n === undefined ? {} : { n } });

describe('steps', () => {
  it('in a chain get the result of the one before', async () => {
    const { id } = await client.enqueue('steps', 'steps', {
      steps: [double(1), double(), double()],
    });
    const job = await end(id);
    expect(job.state).toBe('completed');
    expect((job.result as { results: { result: number }[] }).results.map((r) => r.result)).toEqual([
      2, 4, 8,
    ]);
    expect(job.progress).toEqual({ done: 3, total: 3 });
  });

  it('in parallel run all, each with its own data', async () => {
    const { id } = await client.enqueue('steps', 'steps', {
      mode: 'parallel',
      steps: [double(1), double(2), double(3)],
    });
    const { result } = await end(id);
    expect((result as { results: { result: number }[] }).results.map((r) => r.result)).toEqual([
      2, 4, 6,
    ]);
  });

  it('in parallel show how many are done while others still run', async () => {
    const { id } = await client.enqueue('steps', 'steps', {
      mode: 'parallel',
      steps: [double(1), { queue: 'gate', data: {} }, { queue: 'gate', data: { isOpen: true } }],
    });
    await expect
      .poll(async () => await client.job('steps', id))
      .toMatchObject({ state: 'waiting-children', progress: { done: 2, total: 3 } });
    opened.resolve(2);
    expect((await end(id)).progress).toMatchObject({ done: 3, total: 3 });
  });

  it('in a queue that nobody handles are not begun, unless that is said to be right', async () => {
    const data = { steps: [double(1), { queue: 'duoble', data: {} }] };
    const resources = { queues: ['steps', 'double'] };
    const unknown = await runHandler(steps, data, { resources });
    expect(unknown.outcome).toBe('failed');
    expect(unknown.error?.message).toMatch(
      /steps\.1\.queue: no worker here handles "duoble" \(but steps, double\).*unknown: "allow"/,
    );
    expect(unknown.enqueued).toEqual([]);
    // The service tells the worker which queues it handles; a newer replica may handle more.
    const { id } = await client.enqueue('steps', 'steps', data);
    await expect
      .poll(async () => (await client.job('steps', id))?.failedReason)
      .toContain('no worker here handles "duoble"');
    const { id: allowed } = await client.enqueue('steps', 'steps', { ...data, unknown: 'allow' });
    await expect
      .poll(async () => await client.job('duoble', `${allowed}-step-2`))
      .toMatchObject({ state: 'waiting' });
  });

  it('after a failed one are left unrun and named', async () => {
    const { id } = await client.enqueue('steps', 'steps', {
      steps: [double(1), { queue: 'broken', data: {} }, double()],
    });
    const job = await end(id);
    expect(job.state).toBe('failed');
    expect(job.failedReason).toBe('step 2 (broken) failed: cannot. Not run: step 3 (double).');
    expect(runs).not.toContain(`${id}-step-3`);
  });

  it('with the same id are the same flow: nothing runs twice', async () => {
    const data = { steps: [double(5), double()] };
    const first = await client.enqueue('steps', 'steps', data, { jobId: 'same-key' });
    const second = await client.enqueue('steps', 'steps', data, { jobId: 'same-key' });
    expect(second.id).toBe(first.id);
    await end('same-key');
    expect(runs.filter((id) => id.startsWith('same-key'))).toEqual([
      'same-key-step-1',
      'same-key-step-2',
    ]);
  });

  it('begun anew after a crash add no step twice', async () => {
    const queue = new Queue('steps', { connection: { host: server.host, port: server.port } });
    const { id } = await client.enqueue('steps', 'steps', { steps: [double(7), double()] });
    await end(id);
    const again = (await queue.getJob(id))!;
    await again.retry('completed');
    expect((await end(id)).state).toBe('completed');
    expect(runs.filter((run) => run.startsWith(id))).toHaveLength(2);
    await queue.close();
  });

  it('that are none, or in a queue without a name, are refused with the path', async () => {
    const none = await runHandler(steps, { steps: [] });
    expect(none.outcome).toBe('failed');
    expect(none.error?.message).toContain('steps: ');
    const nameless = await runHandler(steps, { steps: [{ queue: '' }] });
    expect(nameless.error?.message).toContain('steps.0.queue');
  });
});
