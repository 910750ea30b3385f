/** What a job may carry. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DATA_DEPTH_MAX, depthOf, payloadBytes } from '../../src/queue/payload.ts';

const nested = (levels: number): unknown =>
  JSON.parse(`${'['.repeat(levels)}"a \\" ] [ {"${']'.repeat(levels)}`);

/** The plain, recursive truth that `depthOf` must agree with. */
function truth(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(truth));
}

const manyEscapes = fc.array(fc.string({ unit: fc.constantFrom('\\', '"', '[', '}', 'a') }));

describe('a payload', () => {
  it('has the bytes of its JSON in UTF-8', () => {
    expect(payloadBytes('q', { text: 'äöü€' }, 1000)).toBe(Buffer.byteLength('{"text":"äöü€"}'));
    expect(payloadBytes('q', undefined, 1000)).toBe(2);
  });

  it('may be as large as the limit, not a byte more', () => {
    const text = 'x'.repeat(98);
    expect(payloadBytes('q', text, 100)).toBe(100);
    expect(() => payloadBytes('q', `${text}x`, 100)).toThrow('MAX_JOB_BYTES allows 100');
  });

  it('may be nested to the limit, and beyond it is refused without a stack overflow', () => {
    expect(payloadBytes('q', nested(DATA_DEPTH_MAX), 1e6)).toBeGreaterThan(0);
    expect(() => payloadBytes('q', nested(DATA_DEPTH_MAX + 1), 1e6)).toThrow('nested deeper');
    expect(() => payloadBytes('q', nested(100_000), 1e6, 'jobs[1].data')).toThrow(
      /^jobs\[1\]\.data is nested deeper/,
    );
  });

  it('has the depth that its brackets outside of strings have', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue({ maxDepth: 12 }), manyEscapes), (value) => {
        // Padded, since short texts are not looked at.
        const text = JSON.stringify([value, 'x'.repeat(300)]);
        expect(depthOf(text)).toBe(truth([value]));
      }),
    );
  });
});
