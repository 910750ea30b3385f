/**
 * The producer over BullMQ: every job that handlers, HTTP or the command line add goes through here.
 * Each job has its id before it is sent, so that a request without a reply can be sent again.
 *
 * What it must never do: return an id of a job that is not kept.
 */
import {
  type BackendFactory,
  FlowProducer,
  type JobsOptions,
  Queue,
  type RedisQueueBackend,
  type Telemetry,
} from 'bullmq';
import type { Logger } from 'pino';
import { ClientClosedError, InvalidInputError, RedisUnavailableError } from '../errors.ts';
import { systemClock } from '../time.ts';
import { within } from '../within.ts';
import { type AcceptingBackend, receiptsOf } from './accepting-backend.ts';
import { translate } from './caller-errors.ts';
import { checkList, checkShape } from './caller-input.ts';
import type { Accepted, Client, ClientQueueOptions, FlowInput, JobView, Left } from './client.ts';
import { flowJob } from './flow-job.ts';
import { newJobId } from './job-id.ts';
import { JobLookup, jobOf } from './job-lookup.ts';
import { checkOptions } from './job-options.ts';
import { newJob } from './new-job.ts';
import { type OpenQueue, OpenQueues, type OwnQueue } from './open-queues.ts';
import { payloadBytes } from './payload.ts';
import { checkedData, type QueueDefinition } from './queue-definition.ts';
import { assertQueueName } from './queue-name.ts';
import type { ResilientBackend } from './resilient-backend.ts';
import type { RedisTarget } from './target.ts';

/** Closing waits this long for Redis at most, ms. */
const CLOSE_MS = 1000;
const ANSWER_MS = 2000;
const JOB_FIELDS = ['name', 'data', 'options'];

export interface BullmqClientOptions {
  target: Pick<
    RedisTarget,
    | 'producerFactory'
    | 'readerFactory'
    | 'connection'
    | 'journal'
    | 'journaled'
    | 'state'
    | 'localRun'
  >;
  /** BullMQ's key prefix. */
  prefix: string;
  jobBytesMax: number;
  /** A question is answered within this time, ms. Default 2,000, as ENQUEUE_TIMEOUT. */
  answerMs?: number;
  log: Logger;
  /** Entries of a queue's event stream that are kept; a slow embedded store wants few. */
  eventsMax?: number | undefined;
  /** BullMQ's telemetry: a job carries the trace of what added it. */
  telemetry?: Telemetry | undefined;
  /** Hears of every accepted job, for metrics. */
  onAccepted?: (accepted: Accepted) => void;
}

export function createClient(options: BullmqClientOptions): Client {
  return new BullmqClient(options);
}

class BullmqClient implements Client {
  readonly #options: BullmqClientOptions;
  readonly #queues: OpenQueues;
  /** For queues that are only asked about: nothing is written for them. */
  readonly #readers: OpenQueues;
  readonly #lookup: JobLookup;
  #flows: FlowProducer<RedisQueueBackend> | undefined;
  /** Nothing is asked of Redis any more. What is added until the journal closes is kept there. */
  #isClosed = false;

  constructor(options: BullmqClientOptions) {
    this.#options = options;
    const { target, log } = options;
    this.#queues = new OpenQueues(
      (name, defaults) => this.#newQueue(name, target.producerFactory, defaults),
      log,
    );
    this.#readers = new OpenQueues((name) => this.#newQueue(name, target.readerFactory), log);
    this.#lookup = new JobLookup(target, (queue, id) => this.#jobInRedis(queue, id));
  }

  enqueue(queue: string | QueueDefinition, ...rest: readonly unknown[]): Promise<Accepted> {
    if (typeof queue !== 'string') {
      return this.#enqueueDefined(queue, ...(rest as [unknown, JobsOptions?]));
    }
    const [name, data, options] = rest as [string, unknown, JobsOptions?];
    try {
      return this.#enqueue(queue, name, data, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #enqueueDefined(
    queue: QueueDefinition,
    data: unknown,
    options?: JobsOptions,
  ): Promise<Accepted> {
    checkShape(queue, 'queue', 'Give its name, or what defineQueue returned.');
    const checked = await checkedData(queue, data);
    return await this.#enqueue(queue.queue, queue.name, checked, options);
  }

  /**
   * No async function: it would hold the data until the job is kept.
   * @throws what is wrong with the input, at once
   */
  #enqueue(queue: string, name: string, data: unknown, options?: JobsOptions): Promise<Accepted> {
    const opts = this.#checked(queue, name, options, '');
    if (this.#options.telemetry) {
      this.#checkData(queue, data, '');
      return this.#addBy(queue, (q) => q.add(name, data, opts)).then(([receipt]) => receipt!);
    }
    const { jobBytesMax, onAccepted } = this.#options;
    const open = this.#queues.take(queue);
    let accepted: Promise<Accepted>;
    try {
      const job = newJob(open.queue, name, data, opts, jobBytesMax);
      accepted = backendOf(open).accept(job);
    } catch (error) {
      open.calls -= 1;
      return translate(error);
    }
    return accepted.then(
      (receipt) => {
        open.calls -= 1;
        onAccepted?.(receipt);
        return receipt;
      },
      (error) => {
        open.calls -= 1;
        return translate(error);
      },
    );
  }

  /** By BullMQ's own `add` or `addBulk`, which give the jobs a trace. */
  async #addBy(queue: string, add: (queue: OwnQueue) => Promise<unknown>): Promise<Accepted[]> {
    const receipts = await receiptsOf(() => this.#with(queue, add));
    this.#tell(receipts);
    return receipts;
  }

  #tell(receipts: readonly Accepted[]): void {
    const { onAccepted } = this.#options;
    if (onAccepted) for (const receipt of receipts) onAccepted(receipt);
  }

  async enqueueMany(
    queue: string,
    jobs: readonly { name: string; data: unknown; options?: JobsOptions }[],
  ): Promise<Accepted[]> {
    checkList(jobs, 'jobs');
    const entries = jobs.map((job, i) => {
      const at = `jobs[${i}].`;
      checkShape(job, `jobs[${i}]`, 'Give { name, data, options }.', at, JOB_FIELDS);
      const { name, data, options } = job;
      const opts = this.#checked(queue, name, options, at);
      this.#checkData(queue, data, at);
      return { name, data, opts };
    });
    return await this.#addBy(queue, (q) => q.addBulk(entries));
  }

  async flow(flow: FlowInput): Promise<Accepted> {
    const { prefix } = this.#options;
    const tree = flowJob(flow, prefix, (node, at) => {
      const opts = this.#checked(node.queue, node.name, node.options, at);
      this.#checkData(node.queue, node.data, at);
      return opts;
    });
    const receipts = await receiptsOf(() => this.#flowProducer().add(tree).catch(translate));
    this.#tell(receipts);
    return receipts[0]!;
  }

  queue(name: string, options: ClientQueueOptions = {}): Queue {
    assertQueueName(name);
    const remedy = "Give { defaultJobOptions }, or none: all else is the client's.";
    checkShape(options, 'options', remedy, 'options.', ['defaultJobOptions']);
    const { defaultJobOptions: defaults } = options;
    if (defaults !== undefined) checkOptions(defaults, 'options.defaultJobOptions');
    if (this.#isClosed) throw new ClientClosedError('opening a queue');
    return this.#queues.keep(name, defaults) as unknown as Queue;
  }

  async job(queue: string, id: string): Promise<JobView | undefined> {
    assertQueueName(queue);
    if (typeof id !== 'string' || id === '') {
      throw new InvalidInputError(
        'id',
        'is not a string of at least one character',
        'Give the id.',
      );
    }
    if (this.#isClosed) throw new ClientClosedError('looking for a job');
    return await this.#inTime('looking for a job', this.#lookup.find(queue, id));
  }

  async #jobInRedis(queue: string, id: string): Promise<JobView | undefined> {
    return await this.#reading(queue, async (q) => {
      const found = await jobOf(q, id);
      if (found) return found;
      const other = await (q.backend as ResilientBackend).aliasOf(id);
      return other === null ? undefined : await jobOf(q, other);
    });
  }

  async counts(queue: string): Promise<Record<string, number>> {
    assertQueueName(queue);
    if (this.#isClosed) throw new ClientClosedError('counting jobs');
    const counting = this.#reading(queue, (q) => q.getJobCounts());
    return await this.#inTime('counting jobs', counting);
  }

  async close(): Promise<Left> {
    this.#isClosed = true;
    const parts: { close(): Promise<unknown> }[] = [this.#queues, this.#readers].flatMap((open) =>
      open.takeAll(),
    );
    if (this.#flows) parts.push(this.#flows);
    this.#flows = undefined;
    const closed = Promise.allSettled(parts.map((part) => part.close()));
    let cancel: (() => void) | undefined;
    const late = new Promise<void>((resolve) => {
      cancel = systemClock.after(CLOSE_MS, resolve);
    });
    await Promise.race([closed, late]);
    cancel?.();
    const { journal } = this.#options.target;
    const { jobs, refused } = journal.stats();
    return { jobs, refused, path: journal.path };
  }

  /** A question has its time as an enqueue has. */
  #inTime<T>(operation: string, answer: Promise<T>): Promise<T> {
    const { answerMs = ANSWER_MS, target } = this.#options;
    return within(answer, answerMs, () => {
      const { condition = 'timeout', outageId } = target.state();
      return new RedisUnavailableError(operation, condition, outageId);
    });
  }

  /** BullMQ's options of a job that may be added. `at` is where the job stands in the input. */
  #checked(
    queue: string,
    name: string,
    options: JobsOptions | undefined,
    at: string,
  ): JobsOptions & { jobId: string } {
    assertQueueName(queue);
    if (typeof name !== 'string' || name === '') {
      const what = name === '' ? 'is empty' : 'is not a string';
      throw new InvalidInputError(`${at}name`, what, 'Give the job a name.');
    }
    if (options === undefined || options === null) return { jobId: newJobId() };
    checkOptions(options, `${at}options`);
    return { ...options, jobId: options.jobId ?? newJobId() };
  }

  #checkData(queue: string, data: unknown, at: string): void {
    payloadBytes(queue, data, this.#options.jobBytesMax, `${at}data`);
  }

  #with<T>(name: string, call: (queue: OwnQueue) => Promise<T>): Promise<T> {
    return this.#queues.use(name, call).catch(translate);
  }

  async #reading<T>(name: string, call: (queue: OwnQueue) => Promise<T>): Promise<T> {
    const open = this.#queues.has(name) ? this.#queues : this.#readers;
    return await open.use(name, call).catch(translate);
  }

  #newQueue(
    name: string,
    factory: BackendFactory<RedisQueueBackend>,
    defaults?: JobsOptions,
  ): OwnQueue {
    const { target, prefix, telemetry, eventsMax } = this.#options;
    return new Queue(
      name,
      {
        connection: target.connection,
        prefix,
        ...(defaults ? { defaultJobOptions: defaults } : {}),
        skipMetasUpdate: factory === target.readerFactory,
        ...(telemetry ? { telemetry } : {}),
        ...(eventsMax ? { streams: { events: { maxLen: eventsMax } } } : {}),
      },
      factory,
    ) as unknown as OwnQueue;
  }

  #flowProducer(): FlowProducer<RedisQueueBackend> {
    if (!this.#flows) {
      const { target, prefix, telemetry } = this.#options;
      this.#flows = new FlowProducer(
        { connection: target.connection, prefix, ...(telemetry ? { telemetry } : {}) },
        target.producerFactory,
      );
      this.#flows.on('error', (error) =>
        this.#options.log.debug({ event: 'client.error', error: error.message }),
      );
    }
    return this.#flows;
  }
}

function backendOf({ queue }: OpenQueue): AcceptingBackend {
  return queue.backend as unknown as AcceptingBackend;
}
