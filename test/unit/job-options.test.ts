/** What Redis would refuse is refused before it is kept, and all else of BullMQ's is taken. */
import type { JobsOptions } from 'bullmq';
import { describe, expect, it } from 'vitest';
import { checkJob, checkOptions } from '../../src/queue/job-options.ts';

const cycle: Record<string, unknown> = {};
cycle.self = cycle;

/** Tried against Redis 7.0: each is an error of BullMQ's script there. */
const refusedByRedis: [string, Record<string, unknown>][] = [
  ['timestamp', { timestamp: new Date() }],
  ['timestamp', { timestamp: 'soon' }],
  ['delay', { delay: Number.POSITIVE_INFINITY }],
  ['deduplication', { deduplication: { id: 'a', ttl: '5s' } }],
  ['deduplication', { deduplication: { id: 'a', ttl: 1.5 } }],
  ['deduplication', { deduplication: { id: { of: 'a' } } }],
  ['parent', { parent: 'a' }],
  ['parent', { parent: { id: 'a' } }],
  ['backoff', { backoff: { type: 'fixed', delay: Number.NaN } }],
  ['removeOnComplete', { removeOnComplete: { age: '1 day' } }],
  ['removeOnFail', { removeOnFail: { count: '10' } }],
  ['note', { note: cycle }],
  ['note', { note: 1n }],
  ['jobId', { jobId: 'x\ud800' }],
];

const all: JobsOptions = {
  jobId: 'a-b',
  delay: 5,
  priority: 2,
  attempts: 3,
  backoff: { type: 'exponential', delay: 10, jitter: 0.5 },
  lifo: true,
  timestamp: 1_700_000_000_000,
  removeOnComplete: { age: 3600, count: 10, limit: 5 },
  removeOnFail: true,
  keepLogs: 10,
  stackTraceLimit: 2,
  sizeLimit: 1000,
  deduplication: { id: 'a', ttl: 1000, extend: true, replace: true },
  parent: { id: 'p', queue: 'bull:q' },
  failParentOnFailure: true,
  telemetry: { metadata: '{}', omitContext: true },
};

describe('options of a job', () => {
  it.each(refusedByRedis)('are refused that Redis would refuse: %s of %o', (field, options) => {
    const error = expect.objectContaining({
      code: 'HOLDFAST_INPUT_INVALID',
      data: { field: `jobs[1].options.${field}` },
    });
    expect(() => checkOptions(options, 'jobs[1].options')).toThrow(error);
    expect(() => checkJob({ data: '1', opts: options } as never)).toThrow(`opts.${field}`);
  });

  it('name no key that a queue has in Redis: the job would be lost, or the queue', () => {
    const named = 'jobId is "wait", the name of a key that queues have in Redis. Correct it';
    const refusing = (field: string) => expect.objectContaining({ data: { field } });
    expect(() => checkOptions({ jobId: 'wait' }, 'options')).toThrow(named);
    expect(() => checkOptions({ jobId: 'meta' }, 'options')).toThrow(refusing('options.jobId'));
    for (const jobId of ['failed', 'metrics:completed:data']) {
      const job = { data: '1', opts: { jobId } } as never;
      expect(() => checkJob(job)).toThrow(refusing('opts.jobId'));
    }
  });

  it('are taken when BullMQ takes them', () => {
    checkOptions(all, 'options');
    checkOptions({}, 'options');
    checkOptions({ delay: 1.5, priority: 2 ** 21 - 1 }, 'options');
    expect(() => checkOptions({ delay: -1 }, 'options')).toThrow(/options\.delay is not/);
    expect(() => checkOptions({ priority: 2 ** 21 }, 'options')).toThrow(/from 0 to 2097151/);
    checkOptions({ ...all, parent: undefined, backoff: 5, removeOnFail: 5 }, 'options');
    checkJob({ data: '{}', opts: { ...all, delay: '5', jobId: 'a:b:c' } } as never);
  });

  it.each([null, 'x', [], 5])('are an object, which %o is not', (options) => {
    expect(() => checkOptions(options, 'options')).toThrow('options is not an object');
  });

  it('do not repeat a job: BullMQ would run it once, without a word', () => {
    expect(() => checkOptions({ repeat: { every: 1000 } }, 'options')).toThrow(
      /upsertJobScheduler/,
    );
  });
});

it('data that is nothing in JSON is refused', () => {
  expect(() => checkJob({ data: undefined, opts: {} } as never)).toThrow('data is nothing');
});
