/** Entries for tests of the journal: any at all, and small ones that are told apart by a number. */
import fc from 'fast-check';
import type { Entry, JobEntry, OutcomeEntry } from '../../src/journal/journal.ts';

const text = fc.string({ unit: 'grapheme' });
const instant = fc.nat(4_000_000_000_000);
const common = {
  queue: fc.constantFrom('mail', 'faq', 'a:b é'),
  prefix: text,
  jobId: text,
  at: instant,
};

export const anyEntry: fc.Arbitrary<Entry> = fc.oneof(
  fc.record<OutcomeEntry>({
    ...common,
    type: fc.constant('outcome' as const),
    kind: fc.constantFrom('completed', 'failed', 'delayed', 'retried'),
    token: text,
    attemptsStarted: fc.nat(1000),
    jobTimestamp: instant,
    args: fc.oneof(
      fc.json(),
      fc.string({ unit: 'binary' }).filter((s) => s.isWellFormed()),
    ),
  }),
  fc.record<JobEntry>({
    ...common,
    type: fc.constant('job' as const),
    name: text,
    mark: fc.constantFrom('unsent', 'sent', 'running', 'lingering'),
    args: fc.oneof(fc.json(), fc.string({ size: 'large' })),
  }),
);

export function outcomeNumber(number: number, argsBytes = 40): OutcomeEntry {
  return {
    type: 'outcome',
    kind: 'completed',
    queue: number % 3 === 0 ? 'faq' : 'mail',
    prefix: 'bull',
    jobId: `job-${number}`,
    token: `token-${number}`,
    attemptsStarted: 1,
    jobTimestamp: 1_700_000_000_000 + number,
    args: JSON.stringify({ number, pad: 'x'.repeat(argsBytes) }),
    at: 1_700_000_100_000 + number,
  };
}

export function jobNumber(number: number): JobEntry {
  return {
    type: 'job',
    queue: 'mail',
    prefix: 'bull',
    jobId: `job-${number}`,
    name: 'send',
    mark: 'unsent',
    args: JSON.stringify({ number }),
    at: 1_700_000_100_000 + number,
  };
}

/** From some bytes to several pages of the database; few fill more than 64 KiB. */
const PAD_BYTES = [0, 40, 300, 700, 1_500, 3_000, 5_000, 12_000];

/** A job whose size, mark and text depend on its number; told apart by its id. */
export function jobOfAnySize(number: number): JobEntry {
  const bytes = number % 67 === 1 ? 70_000 : PAD_BYTES[(number * 5) % PAD_BYTES.length]!;
  return {
    ...jobNumber(number),
    queue: number % 4 === 0 ? 'faq' : 'mail',
    name: 'send 送る 🚚',
    mark: number % 3 === 0 ? 'sent' : 'unsent',
    args: JSON.stringify({ number, text: 'ä→日本🎈', pad: `${number} `.repeat(bytes / 4) }),
  };
}
