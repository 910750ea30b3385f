/**
 * The backend of a Holdfast client: BullMQ's own Queue and FlowProducer over it add jobs that are kept
 * whatever Redis does. Everything but adding is the resilient backend's.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { JobJson, ParentKeyOpts } from 'bullmq';
import { flowWork, jobWork } from './add-work.ts';
import type { BackendOptions } from './backend-options.ts';
import type { Arrival, Intake } from './intake.ts';
import { newJobId } from './job-id.ts';
import { checkJob } from './job-options.ts';
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

export class AcceptingBackend extends ResilientBackend {
  readonly #core: TargetCore;
  readonly #intake: Intake;
  readonly #isStrict: boolean;

  constructor(
    core: TargetCore,
    name: string,
    options: BackendOptions,
    intake: Intake,
    isStrict: boolean,
  ) {
    super(core, name, options, 'producer');
    this.#core = core;
    this.#intake = intake;
    this.#isStrict = isStrict;
  }

  /** A job is accepted before Redis has ever answered. */
  override async waitUntilReady(): Promise<void> {}

  override async addJob(job: JobJson, jobId: string, parent: ParentKeyOpts = {}): Promise<string> {
    const given = receipts.getStore();
    // What comes through `enqueue` was checked there.
    if (!given) checkJob(job);
    const receipt = await this.#intake.accept(this.#arrival(job, jobId, parent));
    given?.push(receipt);
    return receipt.id;
  }

  override async addJobs(
    entries: { job: JobJson; jobId: string; parentKeyOpts?: ParentKeyOpts }[],
  ): Promise<string[]> {
    const given = receipts.getStore();
    if (!given) for (const { job } of entries) checkJob(job);
    const accepted = await this.#intake.acceptAll(
      entries.map(({ job, jobId, parentKeyOpts }) =>
        this.#arrival(job, jobId, parentKeyOpts ?? {}),
      ),
    );
    given?.push(...accepted);
    return accepted.map(({ id }) => id);
  }

  override async addFlow(entries: FlowEntries): Promise<[Error | null, string | number][]> {
    const given = receipts.getStore();
    const root = entries[0]!;
    const work = await flowWork(this.#core, entries);
    const receipt = await this.#intake.accept({
      ledger: this.#core.ledger(root.prefix, root.queueName),
      job: { jobId: root.jobId, name: root.jobData.name, flow: entries },
      work: () => work,
      isStrict: this.#isStrict,
      refusal: (code) => this.#refusal(code, root.parentKeyOpts),
    });
    given?.push(receipt);
    return entries.map(({ jobId }, i) => [null, i === 0 ? receipt.id : jobId]);
  }

  #arrival(job: JobJson, wanted: string | undefined, parent: ParentKeyOpts): Arrival {
    // Before it is sent, so that a request without an answer can be sent again.
    const jobId = wanted || newJobId();
    return {
      ledger: this.ledger,
      job: { jobId, name: job.name, single: { job, parent } },
      work: () => jobWork(this.ledger, job, jobId, parent),
      isStrict: this.#isStrict,
      refusal: (code) => this.#refusal(code, parent),
    };
  }

  #refusal(code: number, parent: ParentKeyOpts): Error {
    return this.finishedErrors({
      code,
      ...(parent.parentKey ? { parentKey: parent.parentKey } : {}),
      command: 'addJob',
    } as never);
  }
}
