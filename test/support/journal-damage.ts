/** Ways to damage a journal's files: flipped bits and cuts at any place. */
import fc from 'fast-check';

/** What may be damaged, by its name in the layout of a folder. */
export type ImageFile = 'database' | 'wal' | 'sharedMemory';

/** As a share of the file. Even, where fast-check's doubles are mostly next to 0. */
const anywhere = fc.noBias(fc.nat(999_999)).map((millionths) => millionths / 1_000_000);

const file = fc.constantFrom<ImageFile>('database', 'database', 'wal', 'wal', 'sharedMemory');

export interface Flip {
  which: ImageFile;
  where: number;
  bit: number;
}

export interface Cut {
  which: ImageFile;
  where: number;
}

export const flip: fc.Arbitrary<Flip> = fc.record({ which: file, where: anywhere, bit: fc.nat(7) });
export const cut: fc.Arbitrary<Cut> = fc.record({ which: file, where: anywhere });

/** The files with all of this done to them. */
export function damaged(
  whole: Record<ImageFile, Buffer>,
  flips: readonly Flip[],
  cuts: readonly Cut[],
): Record<ImageFile, Buffer> {
  const files = { ...whole };
  for (const { which, where, bit } of flips) {
    const bytes = Buffer.from(files[which]);
    const at = Math.floor(where * bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
    files[which] = bytes;
  }
  for (const { which, where } of cuts) {
    files[which] = files[which].subarray(0, Math.floor(where * files[which].length));
  }
  return files;
}
