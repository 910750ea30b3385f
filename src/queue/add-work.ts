/**
 * Adds as they go over the wire: BullMQ's own scripts with their arguments, taken from its backend
 * instead of being sent by it, so that they can be numbered, and sent again as they were.
 */
import { type JobJson, type ParentKeyOpts, QueueKeys, RedisQueueBackend } from 'bullmq';
import { InvalidInputError } from '../errors.ts';
import type { AddWork } from './add-series.ts';
import type { StoredAdd } from './add-window.ts';
import {
  claimArgs,
  claimedArgs,
  claimedName,
  keyCount,
  type NumberArgs,
  numberedArgs,
  numberedName,
  queueScript,
  type Transaction,
} from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { AcceptedJob } from './job-store.ts';
import type { QueueLedger } from './ledger.ts';
import type { FlowEntries } from './sender.ts';
import type { TargetCore } from './target-core.ts';

export interface Call {
  script: string;
  args: unknown[];
}

/** BullMQ's backend with the wire cut: what it would send is noted. */
class Recorder extends RedisQueueBackend {
  calls: Call[] = [];

  constructor(prefix: string, queue: string) {
    const keys = new QueueKeys(prefix);
    const multi = { exec: async () => this.calls.map(() => [null, '']) };
    super(
      { client: Promise.resolve({ multi: () => multi }), on() {} } as never,
      queue,
      keys.getKeys(queue),
      (type: string) => keys.toKey(queue, type),
      { prefix, connection: {} } as never,
      undefined,
      false,
    );
  }

  override execCommand(_client: unknown, script: string, args: unknown[]): Promise<never> {
    this.calls.push({ script, args });
    return Promise.resolve(undefined as never);
  }

  /** The keys of a script that adds a job: the queue's own, the same for every job. */
  keysOf(script: string): unknown[] {
    const argsOf = {
      addDelayedJob: this.addDelayedJobArgs,
      addParentJob: this.addParentJobArgs,
      addPrioritizedJob: this.addPrioritizedJobArgs,
      addStandardJob: this.addStandardJobArgs,
    }[script]!;
    const args = argsOf.call(this, { data: '' } as JobJson, '', []);
    return args.slice(0, keyCount(script));
  }

  take(): Call[] {
    const { calls } = this;
    this.calls = [];
    return calls;
  }
}

const recorders = new WeakMap<QueueLedger, Recorder>();

function recorderOf(ledger: QueueLedger): Recorder {
  let recorder = recorders.get(ledger);
  if (!recorder) {
    recorder = new Recorder(ledger.prefix, ledger.queue);
    recorders.set(ledger, recorder);
  }
  return recorder;
}

/** One job's add. Made once for each, hence a class: its methods cost no memory. */
class JobWork implements AddWork {
  readonly bytes: number;
  readonly jobId: string;
  readonly #ledger: QueueLedger;
  readonly #call: Call;

  constructor(ledger: QueueLedger, jobId: string, call: Call, bytes: number) {
    this.bytes = bytes;
    this.#ledger = ledger;
    this.jobId = jobId;
    this.#call = call;
  }

  send(generation: Generation, number: NumberArgs): Promise<unknown> {
    const { script, args } = this.#call;
    return generation.script(numberedName(script)!, numberedArgs(script, args, number));
  }

  /** After the script's keys, which are the queue's, come BullMQ's packed arguments, data, options. */
  get stored(): StoredAdd {
    const { script, args } = this.#call;
    const [packed, data, options] = args.slice(keyCount(script)) as [Buffer, string, Buffer];
    return { script, jobId: this.jobId, args: packed, data, options };
  }

  sendAgain(generation: Generation, number: NumberArgs): Promise<unknown> {
    const { script, args } = this.#call;
    return generation.script(
      claimedName(script),
      claimedArgs(this.#ledger, this.jobId, script, args, number),
    );
  }
}

/** Synchronous: the order of calls is the order on the wire. */
export function jobWork(
  ledger: QueueLedger,
  job: JobJson,
  jobId: string,
  parent: ParentKeyOpts,
): AddWork {
  return new JobWork(ledger, jobId, addCall(ledger, job, jobId, parent), bytesOf(job.data));
}

/** The script that adds a job, and its arguments. Synchronous. */
export function addCall(
  ledger: QueueLedger,
  job: JobJson,
  jobId: string,
  parent: ParentKeyOpts,
): Call {
  const recorder = recorderOf(ledger);
  // Resolved already: nothing is awaited before the command is noted. What could not be packed is not.
  recorder.addJobToTransaction({} as never, job, jobId, parent).catch(() => {});
  const [call] = recorder.take();
  if (!call) throw new InvalidInputError('options', 'cannot be packed', 'Give plain values.');
  return call;
}

/** An add that the rollback window kept. */
export function storedWork(ledger: QueueLedger, stored: StoredAdd): AddWork {
  const { script, jobId, args, data, options } = stored;
  const call = { script, args: [...recorderOf(ledger).keysOf(script), args, data, options] };
  return new JobWork(ledger, jobId, call, bytesOf(data));
}

/** Rough size of an add in memory, bytes: what it carries, and what carries it. */
function bytesOf(data: string): number {
  return 500 + data.length;
}

/** A whole flow in one transaction under one number, that of its root's queue. */
export async function flowWork(core: TargetCore, entries: FlowEntries): Promise<AddWork> {
  const root = entries[0]!;
  const recorder = new Recorder(root.prefix, root.queueName);
  await recorder.addFlow(entries);
  const calls = recorder.take();
  return {
    jobId: root.jobId,
    bytes: entries.reduce((sum, { jobData }) => sum + 1000 + jobData.data.length, 0),
    send: (generation, number) => sendTogether(core, generation, entries, calls, number, false),
    sendAgain: (generation, number) => sendTogether(core, generation, entries, calls, number, true),
  };
}

export function workOf(core: TargetCore, ledger: QueueLedger, job: AcceptedJob): Promise<AddWork> {
  if (job.flow) return flowWork(core, job.flow);
  const { job: json, parent } = job.single!;
  return Promise.resolve(jobWork(ledger, json, job.jobId, parent));
}

/** Whose job a call adds. */
interface Entry {
  prefix: string;
  queueName: string;
  jobId: string;
}

/**
 * In one transaction under one number: all of it acts, or nothing. The number is asked for by each script
 * and moved by the last: a copy that comes late finds it moved with its first script, not only with those
 * behind it.
 */
async function sendTogether(
  core: TargetCore,
  generation: Generation,
  entries: readonly Entry[],
  calls: readonly Call[],
  number: NumberArgs,
  isAgain: boolean,
): Promise<unknown> {
  const multi = generation.client.multi() as Transaction;
  for (const [i, { script, args }] of calls.entries()) {
    const own = i === calls.length - 1 ? number : { ...number, number: number.before };
    queueScript(multi, numberedName(script)!, numberedArgs(script, args, own));
  }
  if (isAgain) {
    for (const { prefix, queueName, jobId } of entries) {
      queueScript(multi, 'claim', claimArgs(core.ledger(prefix, queueName), [jobId]));
    }
  }
  const replies = await multi.exec();
  // The first that failed says why.
  for (const [error] of replies) if (error) throw error;
  return replies[0]![1];
}
