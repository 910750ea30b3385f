/**
 * One system in a process of its own, so that neither runs in code that the other made hot, or beside
 * its garbage. A child of `main.ts`, which sends it how many jobs to measure, as often as it likes, and
 * is sent a `Measurement` for each. Arguments: system, kind, Redis URL, concurrency.
 */
import { Queue, Worker } from 'bullmq';
import { openSystem, type System, type SystemName } from './systems.ts';

/** `drain`: a Worker runs jobs that wait already. `enqueue`: a Queue adds jobs one by one. */
export const KINDS = ['drain', 'enqueue'] as const;
export type Kind = (typeof KINDS)[number];

export interface Measurement {
  seconds: number;
  /** CPU time of this process, µs. */
  cpuMicros: number;
}

const BULK = 1000;
const QUEUE = 'bench';

/** Runs `jobs` no-op jobs that wait already, at `concurrency`. */
async function drain(
  system: System,
  url: string,
  jobs: number,
  concurrency: number,
): Promise<Measurement> {
  await fill(url, jobs);
  let left = jobs;
  const done = Promise.withResolvers<void>();
  const worker = new Worker(
    QUEUE,
    async () => {},
    {
      connection: system.connection,
      concurrency,
      autorun: false,
      removeOnComplete: { count: 0 },
    },
    system.backendFactory,
  );
  worker.on('error', () => {});
  worker.on('completed', () => {
    if (--left === 0) done.resolve();
  });
  await worker.waitUntilReady();
  const measured = await clocked(async () => {
    worker.run().catch(done.reject);
    await done.promise;
  });
  await worker.close();
  return measured;
}

/** Adds `jobs` jobs one by one, `concurrency` of them under way at a time. */
async function enqueue(system: System, jobs: number, concurrency: number): Promise<Measurement> {
  const queue = new Queue(QUEUE, { connection: system.connection }, system.producerFactory);
  queue.on('error', () => {});
  await queue.waitUntilReady();
  let next = 0;
  const producer = async (): Promise<void> => {
    while (next < jobs) await queue.add('job', { n: next++ });
  };
  const measured = await clocked(async () => {
    await Promise.all(Array.from({ length: concurrency }, producer));
  });
  await queue.close();
  return measured;
}

/** By plain BullMQ for both systems, as is what follows: it is not what is measured. */
async function fill(url: string, jobs: number): Promise<void> {
  const queue = new Queue(QUEUE, { connection: { url } });
  for (let from = 0; from < jobs; from += BULK) {
    const count = Math.min(BULK, jobs - from);
    await queue.addBulk(
      Array.from({ length: count }, (_, i) => ({ name: 'job', data: { n: from + i } })),
    );
  }
  await queue.close();
}

/** Nothing of one turn is left for the next. No FLUSHALL: Holdfast would add again what it took away. */
async function empty(url: string): Promise<void> {
  const queue = new Queue(QUEUE, { connection: { url } });
  await queue.obliterate({ force: true, count: 10_000 });
  await queue.close();
}

async function clocked(act: () => Promise<void>): Promise<Measurement> {
  const cpu = process.cpuUsage();
  const began = performance.now();
  await act();
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { seconds, cpuMicros: user + system };
}

if (import.meta.main) {
  const [name, kind, url, concurrencyText] = process.argv.slice(2);
  const concurrency = Number(concurrencyText);
  const system = await openSystem(name as SystemName, url!);
  process.on('message', async (jobs: number) => {
    const measured =
      kind === 'drain'
        ? await drain(system, url!, jobs, concurrency)
        : await enqueue(system, jobs, concurrency);
    await empty(url!);
    process.send!(measured);
  });
  process.once('disconnect', async () => {
    await system.stop();
    process.exit();
  });
}
