/** How accepted jobs stand in the journal, and how they come back. */
import { Job } from 'bullmq';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { JobEntry, Kept } from '../../src/journal/entry.ts';
import {
  type AcceptedJob,
  jobEntry,
  storedJob,
  underNewNumber,
} from '../../src/queue/job-store.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';

const ledger = new QueueLedger('bull', 'mail');
const place = { key: 'bull:mail:holdfast:replay:me', number: 7 };
/** All that BullMQ's Job asks of its queue to be made. */
const queue = { toKey: (type: string) => `bull:mail:${type}`, backend: {} } as never;

function single(data: unknown, options: object = {}): AcceptedJob {
  const job = new Job(queue, 'send', data, { jobId: 'a-1', ...options }, 'a-1').asJSON();
  return { jobId: 'a-1', name: 'send', single: { job, parent: {} } };
}

function kept(job: AcceptedJob): Kept<JobEntry> {
  return { ...jobEntry(ledger, job, 5, place, 'unsent'), position: 1 };
}

it('gives every job back as it was accepted, whatever it carries', () => {
  const options = fc.record(
    { delay: fc.nat(), priority: fc.nat(1000), attempts: fc.nat(9), lifo: fc.boolean() },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.jsonValue(), options, (data, given) => {
      const job = single(data, given);
      expect(storedJob(kept(job))).toEqual({ ...job, flow: undefined, place });
    }),
  );
});

it('writes what is not usual, and gives it back', () => {
  const job = single('two\nlines');
  Object.assign(job.single!.job, {
    progress: 5,
    attemptsMade: 2,
    returnvalue: '1',
    parentKey: 'k',
  });
  expect(storedJob(kept(job))).toEqual({ ...job, flow: undefined, place });
});

it('does not write what every new job has, nor the data as a text within a text', () => {
  const { args } = kept(single({ a: '"' }));
  expect(args.split('\n')[1]).toBe('{"a":"\\""}');
  expect(args).not.toMatch(/attemptsMade|returnvalue|"name"/);
});

it('reads a job that stands as one JSON text', () => {
  const job = single({ a: 1 });
  const args = JSON.stringify({ place, single: job.single });
  expect(storedJob({ ...kept(job), args })).toEqual({ ...job, flow: undefined, place });
});

it('puts a job under a new number without a change to the job', () => {
  const job = single({ a: 'x\ny' });
  const renewed = storedJob({ ...kept(job), args: underNewNumber(kept(job).args) });
  expect(renewed).toEqual({ ...job, flow: undefined, place: expect.anything() });
  expect(renewed.place.number).toBe(1);
  expect(renewed.place.key).toMatch(/^bull:mail:holdfast:replay:me:7:/);
});
