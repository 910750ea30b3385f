/**
 * One measurement in a process of its own, so that neither system runs in code that the other made
 * hot, or beside its garbage. Prints one line of JSON. Arguments: system, kind, Redis URL, jobs,
 * concurrency.
 */
import { once } from 'node:events';
import { Queue, Worker } from 'bullmq';
import { openSystem, type System, type SystemName } from './systems.ts';

/** `drain`: a Worker runs jobs that wait already. `enqueue`: a Queue adds jobs one by one. */
export const KINDS = ['drain', 'enqueue'] as const;
export type Kind = (typeof KINDS)[number];

export interface Measurement {
  /** Jobs per second of wall time. */
  rate: number;
  /** CPU time of this process per job, µs. */
  cpuMicros: number;
}

/**
 * So many of them before the clock starts, as a share of the measured ones: a service runs for days, so
 * what is compared is compiled code with grown buffers, on both sides.
 */
const WARM_UP_SHARE = 0.5;
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
  const measured = await clocked(jobs, async () => {
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
  const measured = await clocked(jobs, async () => {
    await Promise.all(Array.from({ length: concurrency }, producer));
  });
  await queue.close();
  return measured;
}

/** By plain BullMQ for both systems: it is not what is measured. */
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

async function clocked(jobs: number, act: () => Promise<void>): Promise<Measurement> {
  const cpu = process.cpuUsage();
  const began = performance.now();
  await act();
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { rate: jobs / seconds, cpuMicros: (user + system) / jobs };
}

if (import.meta.main) {
  const [name, kind, url, jobsText, concurrencyText] = process.argv.slice(2);
  const jobs = Number(jobsText);
  const concurrency = Number(concurrencyText);
  const system = await openSystem(name as SystemName, url!);
  const measure = (count: number): Promise<Measurement> =>
    kind === 'drain'
      ? drain(system, url!, count, concurrency)
      : enqueue(system, count, concurrency);
  await measure(Math.ceil(jobs * WARM_UP_SHARE));
  const measured = await measure(jobs);
  await system.stop();
  if (!process.stdout.write(`${JSON.stringify(measured)}\n`)) await once(process.stdout, 'drain');
  process.exit();
}
