/** Columns of lists, short and long. */
import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { table } from '../../src/cli/table.ts';

/** Into a pipe. */
const stream = new PassThrough() as unknown as NodeJS.WriteStream;

it('aligns all rows of a long list in time that grows with it', () => {
  const rows = Array.from({ length: 8_000 }, (_, n) => [
    `replica ${n % 3}`,
    String(n),
    n === 7_999 ? 'the widest' : '',
    n % 2 === 0 ? 'even' : '',
  ]);
  const lines = table([['name', 'number', 'note', 'last'], ...rows], stream).split('\n');
  expect(lines).toEqual(
    [['name', 'number', 'note', 'last'], ...rows].map(([name, number, note, last], index) => {
      const digits = index === 0 ? number!.padEnd(6) : number!.padStart(6);
      return `${name!.padEnd(9)}  ${digits}  ${note!.padEnd(10)}  ${last}`.trimEnd();
    }),
  );
});
