/**
 * The backend of a Holdfast client: BullMQ's own Queue and FlowProducer over it add jobs that are kept
 * whatever Redis does. Everything but adding is the resilient backend's.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { JobJson, ParentKeyOpts } from 'bullmq';
import type { AddWork } from './add-series.ts';
import { flowWork, jobWork } from './add-work.ts';
import type { BackendOptions } from './backend-options.ts';
import { saidClosed } from './caller-errors.ts';
import type { Arrival, Intake } from './intake.ts';
import { newJobId } from './job-id.ts';
import { checkJob } from './job-options.ts';
import type { AcceptedJob } from './job-store.ts';
import type { QueueLedger } from './ledger.ts';
import { NewJob } from './new-job.ts';
import { ResilientBackend } from './resilient-backend.ts';
import type { FlowEntries } from './sender.ts';
import type { Receipt } from './takeover.ts';
import type { TargetCore } from './target-core.ts';

const receipts = new AsyncLocalStorage<Receipt[]>();

/** Runs an add of BullMQ's and tells where its jobs are kept, in order. */
export function receiptsOf(add: () => Promise<unknown>): Promise<Receipt[]> {
  const given: Receipt[] = [];
  return receipts.run(given, add).then(() => given);
}

/** What keeps jobs for the backend. */
export interface Keeping {
  intake: Intake;
  /** Through the journal even in calm weather. */
  isStrict: boolean;
  /** A job that the journal has and Redis does not. */
  journaled(queue: string, jobId: string): Promise<unknown>;
}

/** BullMQ's answer to `isFinished`, with the result or the reason if that was asked for. */
type Finished = number | [number, string];

const MISSING = -1;

export class AcceptingBackend extends ResilientBackend {
  readonly #core: TargetCore;
  readonly #keeping: Keeping;
  readonly #intake: Intake;
  readonly #isStrict: boolean;

  constructor(core: TargetCore, name: string, options: BackendOptions, keeping: Keeping) {
    super(core, name, options, 'producer');
    this.#core = core;
    this.#keeping = keeping;
    this.#intake = keeping.intake;
    this.#isStrict = keeping.isStrict;
  }

  /** A job is accepted before Redis has ever answered. */
  override async waitUntilReady(): Promise<void> {}

  /** A job that was checked. */
  accept(job: NewJob): Promise<Receipt> {
    return this.#intake.accept(new JobArrival(this, this.ledger, job, this.#isStrict));
  }

  override async addJob(job: JobJson, jobId: string, parent: ParentKeyOpts = {}): Promise<string> {
    const given = receipts.getStore();
    // What comes through `enqueue` was checked there.
    if (!given) checkJob(job);
    const receipt = await this.#intake.accept(this.#arrival(job, jobId, parent)).catch(saidClosed);
    given?.push(receipt);
    return receipt.id;
  }

  override async addJobs(
    entries: { job: JobJson; jobId: string; parentKeyOpts?: ParentKeyOpts }[],
  ): Promise<string[]> {
    const given = receipts.getStore();
    if (!given) for (const { job } of entries) checkJob(job);
    const arrivals = entries.map(({ job, jobId, parentKeyOpts }) =>
      this.#arrival(job, jobId, parentKeyOpts ?? {}),
    );
    const accepted = await this.#intake.acceptAll(arrivals).catch(saidClosed);
    given?.push(...accepted);
    return accepted.map(({ id }) => id);
  }

  override async addFlow(entries: FlowEntries): Promise<[Error | null, string | number][]> {
    const given = receipts.getStore();
    if (!given) for (const { jobData } of entries) checkJob(jobData);
    const root = entries[0]!;
    const work = await flowWork(this.#core, entries);
    const receipt = await this.#intake.accept({
      ledger: this.#core.ledger(root.prefix, root.queueName),
      job: { jobId: root.jobId, name: root.jobData.name, flow: entries },
      work: () => work,
      isStrict: this.#isStrict,
      refusal: (code) => refusalOf(this, code, root.parentKeyOpts),
    });
    given?.push(receipt);
    return entries.map(({ jobId }, i) => [null, i === 0 ? receipt.id : jobId]);
  }

  /**
   * BullMQ's `waitUntilFinished` asks this where nobody can catch an error, and waits for an event after it. So
   * it is asked as often as need be, and a job that is only in the journal is not finished yet.
   */
  override async isFinished(jobId: string, returnValue?: boolean): Promise<Finished> {
    const notFinished: Finished = returnValue ? [0, ''] : 0;
    const ask = () => this.patiently(() => super.isFinished(jobId, returnValue));
    const found = (await ask()) ?? notFinished;
    if ([found].flat()[0] !== MISSING) return found;
    // A journal that cannot be asked may have it: who hears that it is nowhere adds it again.
    if (await this.#keeping.journaled(this.name, jobId).catch(() => true)) return notFinished;
    // It may have come to Redis between the two questions.
    return (await ask()) ?? notFinished;
  }

  #arrival(job: JobJson, wanted: string | undefined, parent: ParentKeyOpts): Arrival {
    // Before it is sent, so that a request without an answer can be sent again.
    const id = wanted || newJobId();
    return new JobArrival(this, this.ledger, new NewJob(id, job, parent), this.#isStrict);
  }
}

/** One job on its way in. A class for the reason that the journal's `Packed` is one. */
class JobArrival implements Arrival, AcceptedJob {
  readonly ledger: QueueLedger;
  readonly isStrict: boolean;
  readonly #backend: ResilientBackend;
  readonly #job: NewJob;

  constructor(backend: ResilientBackend, ledger: QueueLedger, job: NewJob, isStrict: boolean) {
    this.ledger = ledger;
    this.isStrict = isStrict;
    this.#backend = backend;
    this.#job = job;
  }

  get job(): AcceptedJob {
    return this;
  }

  get jobId(): string {
    return this.#job.id;
  }

  get name(): string {
    return this.#job.json.name;
  }

  get single(): NonNullable<AcceptedJob['single']> {
    const { json, parent } = this.#job;
    return { job: json, parent };
  }

  work(): AddWork {
    const { id, json, parent } = this.#job;
    return jobWork(this.ledger, json, id, parent);
  }

  refusal(code: number): Error {
    return refusalOf(this.#backend, code, this.#job.parent);
  }
}

function refusalOf(backend: ResilientBackend, code: number, parent: ParentKeyOpts): Error {
  return backend.finishedErrors({
    code,
    ...(parent.parentKey ? { parentKey: parent.parentKey } : {}),
    command: 'addJob',
  } as never);
}
