/** An entry comes back as it was written or not at all. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checksum, pack, type Row, unpack } from '../../src/journal/entry.ts';
import { anyEntry } from '../support/journal-entries.ts';

function rowOf(entry: Parameters<typeof pack>[0], position = 7): Row {
  const row = { ...pack(entry), position, refusal: '', origin: null };
  return { ...row, crc: checksum(row) };
}

describe('journal entry', () => {
  it('comes back exactly as it was packed', () => {
    fc.assert(
      fc.property(anyEntry, (entry) => {
        expect(unpack(rowOf(entry))).toEqual({ ...entry, position: 7 });
      }),
    );
  });

  it('does not come back if any column is not what was written', () => {
    fc.assert(
      fc.property(
        anyEntry,
        fc.constantFrom('queue', 'mark', 'refusal', 'origin', 'head', 'args' as const),
        fc.string({ unit: 'grapheme', minLength: 1 }),
        (entry, column, other) => {
          const row = rowOf(entry);
          expect(unpack({ ...row, [column]: `${row[column as 'args']}${other}` })).toBeUndefined();
        },
      ),
    );
  });

  it('does not come back from another position', () => {
    const row = rowOf({ ...sample, args: '{}' });
    expect(unpack({ ...row, position: 8 })).toBeUndefined();
    expect(unpack({ ...row, bytes: row.bytes + 1 })).toBeUndefined();
  });

  it('refuses text that a database cannot give back', () => {
    expect(() => pack({ ...sample, args: '\ud800' })).toThrow(/well-formed/);
    expect(() => pack({ ...sample, queue: '\udc00' })).toThrow(/well-formed/);
  });
});

const sample = {
  type: 'job' as const,
  queue: 'mail',
  prefix: 'bull',
  jobId: '1',
  name: 'send',
  mark: 'unsent' as const,
  args: '{}',
  at: 1,
};
