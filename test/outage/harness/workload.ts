/**
 * The jobs of a row: plain, delayed, with priority, with retries and backoff, flow children, from a
 * scheduler, deduplicated; some in flight through the fault, some waiting, some added afterwards.
 * Remembers what must have become of each.
 */
import { type ConnectionOptions, FlowProducer, type JobsOptions, Queue } from 'bullmq';
import { stepsOf, type Work } from '../sut/settings.ts';

export const QUEUES = { work: 10, parents: 2, ticks: 1 } as const;
export type QueueName = keyof typeof QUEUES;
/** A scheduler's job is due each so often, ms. */
export const TICK_MS = 1000;
/** Log lines of one job that may be there twice: those sent until an outage is seen. */
const IN_DOUBT_MAX = 8;
/** How long such a job runs, ms. */
const TICK_RUN_MS = 500;

export interface ExpectedJob {
  queue: QueueName;
  id: string;
  state: 'completed' | 'failed';
  work: Work;
  /** Attempts that begin. */
  runs: number;
}

export class Workload {
  readonly expected: ExpectedJob[] = [];
  readonly queues: Record<QueueName, Queue>;
  readonly #flows: FlowProducer;
  #count = 0;
  #afterFrom = 0;

  constructor(connection: ConnectionOptions, prefix: string) {
    const open = (name: QueueName): Queue => {
      const queue = new Queue(name, { connection, prefix });
      queue.on('error', () => undefined);
      return queue;
    };
    this.queues = { work: open('work'), parents: open('parents'), ticks: open('ticks') };
    this.#flows = new FlowProducer({ connection, prefix });
    this.#flows.on('error', () => undefined);
  }

  async startSchedule(everyMs: number): Promise<void> {
    await this.queues.ticks.upsertJobScheduler(
      'tick',
      { every: everyMs },
      { name: 'tick', data: { ms: TICK_RUN_MS, value: 'tick' } satisfies Work },
    );
  }

  /** Where the schedule stands, for a person who wonders why it does not go on. */
  async describeSchedule(): Promise<string> {
    const { ticks } = this.queues;
    const next = await ticks.getJobScheduler('tick');
    const jobs = await ticks.getJobs(['active', 'wait', 'delayed', 'completed', 'failed'], 0, 5);
    const states = await Promise.all(
      jobs.map(async (job) => `${job.id} ${await job.getState()} (started ${job.attemptsStarted})`),
    );
    return `next ${next?.next ?? 'none'}, now ${Date.now()}; ${states.join(', ')}`;
  }

  async endSchedule(): Promise<void> {
    await this.queues.ticks.removeJobScheduler('tick');
  }

  /** 20 jobs that fill the slots of two workers. */
  async inFlight(lengthsMs: readonly number[]): Promise<void> {
    const ms = (i: number): number => lengthsMs[i % lengthsMs.length]!;
    for (let i = 0; i < 12; i++) await this.plain(ms(i));
    for (let i = 12; i < 14; i++) await this.#add('priority', { ms: ms(i) }, { priority: i });
    for (let i = 14; i < 16; i++) {
      await this.#add('retried', { ms: ms(i), fails: 1 }, { attempts: 3, backoff: 300 });
    }
    await this.#add('delayed', { ms: ms(16) }, { delay: 50 });
    await this.#add(
      'deduplicated',
      { ms: ms(17) },
      { deduplication: { id: `once-${this.#count}` } },
    );
    await this.flow([ms(18), ms(19)]);
  }

  /** Jobs that wait behind those when the fault begins. */
  async waiting(outageMs: number): Promise<void> {
    for (let i = 0; i < 12; i++) await this.plain(100 + 20 * i);
    for (let i = 1; i <= 4; i++) await this.#add('priority', { ms: 100 }, { priority: i });
    for (let i = 0; i < 2; i++) {
      await this.#add(
        'retried',
        { ms: 100, fails: 2 },
        { attempts: 4, backoff: { type: 'exponential', delay: 100 } },
      );
    }
    await this.#add('spent', { ms: 100, fails: 2 }, { attempts: 2, backoff: 100 });
    await this.#add('delayed', { ms: 100 }, { delay: Math.round(outageMs / 2) });
    await this.#add('delayed', { ms: 100 }, { delay: outageMs + 1500 });
    const deduplication = { id: `once-${this.#count}` };
    await this.#add('deduplicated', { ms: 100 }, { deduplication });
    await this.queues.work.add('duplicate', { ms: 1, value: 'duplicate' }, { deduplication });
    await this.flow([100, 150, 200]);
  }

  /** Jobs that were added when all was over. */
  get addedAfter(): readonly ExpectedJob[] {
    return this.expected.slice(this.#afterFrom);
  }

  async after(): Promise<void> {
    this.#afterFrom = this.expected.length;
    for (let i = 0; i < 10; i++) await this.plain(50);
    await this.#add('priority', { ms: 50 }, { priority: 1 });
    await this.#add('retried', { ms: 50, fails: 1 }, { attempts: 2, backoff: 100 });
    await this.flow([50, 50]);
  }

  /** Runs before all that waits, and blocks its process. */
  blocking(blockMs: number): Promise<string> {
    return this.#add('blocking', { ms: 100, blockMs }, { lifo: true });
  }

  plain(ms: number): Promise<string> {
    return this.#add('plain', { ms }, {});
  }

  async flow(childrenMs: readonly number[]): Promise<void> {
    const parent = this.#expect('parents', 'parent', { ms: 50 }, {});
    const children = childrenMs.map((ms) => this.#expect('work', 'child', { ms }, {}));
    await this.#flows.add({
      name: 'parent',
      queueName: 'parents',
      data: parent.work,
      opts: { jobId: parent.id },
      children: children.map(({ id, work }) => ({
        name: 'child',
        queueName: 'work',
        data: work,
        opts: { jobId: id },
      })),
    });
  }

  async close(): Promise<void> {
    const all = [...Object.values(this.queues), this.#flows];
    await Promise.race([
      Promise.allSettled(all.map((one) => one.close())),
      new Promise((resolve) => setTimeout(resolve, 2000).unref()),
    ]);
  }

  async #add(kind: string, work: Omit<Work, 'value'>, options: JobsOptions): Promise<string> {
    const job = this.#expect('work', kind, work, options);
    await this.queues.work.add(kind, job.work, { ...options, jobId: job.id });
    return job.id;
  }

  #expect(
    queue: QueueName,
    kind: string,
    work: Omit<Work, 'value'>,
    { attempts = 1 }: JobsOptions,
  ): ExpectedJob {
    this.#count += 1;
    const id = `${kind}-${this.#count}`;
    const fails = work.fails ?? 0;
    const job: ExpectedJob = {
      queue,
      id,
      state: fails >= attempts ? 'failed' : 'completed',
      work: { ...work, value: `value of ${id}` },
      runs: Math.min(attempts, fails + 1),
    };
    this.expected.push(job);
    return job;
  }
}

/** What is wrong with a job that ought to be finished; undefined when nothing is. */
export async function wrongWith(
  workload: Workload,
  job: ExpectedJob,
  mayLoseNotes: boolean,
): Promise<string | undefined> {
  const found = await workload.queues[job.queue].getJob(job.id);
  if (!found) return `${job.id} is gone`;
  const state = await found.getState();
  if (state !== job.state) {
    return `${job.id} is ${state}, not ${job.state}: ${found.failedReason ?? ''}`;
  }
  if (job.state === 'failed') return undefined;
  const value = found.returnvalue as { value?: string } | null;
  if (value?.value !== job.work.value) {
    return `${job.id} has the result ${JSON.stringify(found.returnvalue)}`;
  }
  if (mayLoseNotes) return undefined;
  if (found.progress !== 100) return `${job.id} has the progress ${JSON.stringify(found.progress)}`;
  const { count } = await workload.queues[job.queue].getJobLogs(job.id, 0, 0);
  const steps = stepsOf(job.work) * job.runs;
  // A line whose request got no reply is written again: at least once, and not twice as a rule.
  return count >= steps && count <= steps + IN_DOUBT_MAX
    ? undefined
    : `${job.id} has ${count} log lines, not ${steps}`;
}
