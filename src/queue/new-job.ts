/**
 * A job as BullMQ's own class makes it, not sent: the short way of `client.enqueue` to the intake. What
 * BullMQ's `add` does beyond it is for traces.
 */
import { Job, type JobJson, type JobsOptions, type ParentKeyOpts } from 'bullmq';
import type { OwnQueue } from './open-queues.ts';
import { jsonBytes, jsonOf } from './payload.ts';

/** A class for the reason that the journal's `Packed` is one. */
export class NewJob {
  readonly id: string;
  readonly json: JobJson;
  readonly parent: ParentKeyOpts;

  constructor(id: string, json: JobJson, parent: ParentKeyOpts) {
    this.id = id;
    this.json = json;
    this.parent = parent;
  }
}

const NO_PARENT: ParentKeyOpts = Object.freeze({});

/**
 * @param options checked, and with the job's id
 * @throws JobTooLargeError, InvalidInputError; BullMQ's bare Error for options that do not fit together
 */
export function newJob(
  queue: OwnQueue,
  name: string,
  data: unknown,
  options: JobsOptions & { jobId: string },
  bytesMax: number,
): NewJob {
  const { jobId } = options;
  const job = new Job(queue as never, name, data, options, jobId);
  const json = jsonOfJob(job, data);
  jsonBytes(queue.name, json.data, bytesMax, 'data');
  const { parentKey } = job;
  if (parentKey === undefined) return new NewJob(jobId, json, NO_PARENT);
  const parentDependenciesKey = `${parentKey}:dependencies`;
  return new NewJob(jobId, json, { parentKey, parentDependenciesKey });
}

function jsonOfJob(job: Job, data: unknown): JobJson {
  let json: JobJson;
  try {
    json = job.toFlowEntry().jobData;
  } catch (error) {
    // Says so if it is the data that cannot be written.
    jsonOf(data, 'data');
    throw error;
  }
  if (json.data === undefined) jsonOf(data, 'data');
  return json;
}
