import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddWork } from '../../src/queue/add-series.ts';
import { AddWindow, type StoredAdd } from '../../src/queue/add-window.ts';

const nothing = async (): Promise<unknown> => undefined;

function work(stored: StoredAdd | undefined): AddWork {
  const methods = { jobId: 'x', bytes: 100, send: nothing, sendAgain: nothing };
  return stored ? { ...methods, stored } : methods;
}

function open(bytesMax: number): { window: AddWindow; full: () => number } {
  let full = 0;
  const window = new AddWindow({
    bytesMax,
    restore: (stored) => work(stored),
    onFull: () => {
      full += 1;
    },
  });
  return { window, full: () => full };
}

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const stored: fc.Arbitrary<StoredAdd> = fc.record({
  script: fc.constantFrom('addStandardJob', 'addDelayedJob', 'addPrioritizedJob'),
  jobId: fc.string({ unit: 'binary', minLength: 1 }),
  args: bytes,
  data: fc.oneof(fc.json(), fc.string({ unit: 'grapheme', maxLength: 70_000 })),
  options: bytes,
});
const small = (n: number): StoredAdd => ({
  script: 'addStandardJob',
  jobId: `job-${n}`,
  args: Buffer.alloc(500),
  data: '{}',
  options: Buffer.alloc(0),
});
const numbersOf = (window: AddWindow, after: number): number[] =>
  window.after(after).map(({ number }) => number);

describe('the window of acknowledged adds', () => {
  it('gives back, in order, what stands above a number, byte for byte', () => {
    fc.assert(
      fc.property(
        fc.array(fc.option(stored, { nil: undefined, freq: 10 }), { maxLength: 30 }),
        fc.nat(30),
        (adds, last) => {
          const { window } = open(64 * 1024 * 1024);
          const works = adds.map(work);
          for (const [i, one] of works.entries()) window.push(i + 1, one, i);
          const found = window.after(last);
          expect(found.map(({ number }) => number)).toEqual(
            works.map((_, i) => i + 1).filter((number) => number > last),
          );
          for (const entry of found) {
            const pushed = works[entry.number - 1]!;
            if (pushed.stored) expect(entry.work.stored).toEqual(pushed.stored);
            else expect(entry.work).toBe(pushed);
          }
        },
      ),
    );
  });

  it('forgets what the time has passed, and keeps what acted anew', () => {
    const { window, full } = open(1024 * 1024);
    for (let n = 1; n <= 1000; n += 1) window.push(n, work(n % 100 ? small(n) : undefined), n);
    // What shares a block with a later one stays as long as that.
    window.forgetBefore(501);
    expect(numbersOf(window, 500)).toHaveLength(500);
    expect(numbersOf(window, 0).length).toBeLessThan(700);
    window.renewAfter(999, 5000);
    window.forgetBefore(4000);
    expect(numbersOf(window, 999)).toEqual([1000]);
    window.forgetBefore(5001);
    expect(numbersOf(window, 0)).toEqual([]);
    expect(full()).toBe(0);
  });

  it('keeps to its bytes, drops the oldest, and says so', () => {
    const { window, full } = open(256 * 1024);
    for (let n = 1; n <= 2000; n += 1) window.push(n, work(small(n)), n);
    const kept = numbersOf(window, 0);
    expect(kept.at(-1)).toBe(2000);
    expect(kept.length * 500).toBeLessThanOrEqual(256 * 1024);
    expect(kept.length).toBeGreaterThan(300);
    expect(full()).toBeGreaterThan(0);
  });

  it('does not give back what was removed', () => {
    const { window } = open(1024 * 1024);
    for (let n = 1; n <= 5; n += 1) window.push(n, work(small(n)), n);
    window.remove(3);
    expect(numbersOf(window, 1)).toEqual([2, 4, 5]);
  });
});
