import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { openSource, type SourceValue } from '../../src/cli/job-source.ts';

/** What it gives up to its end, and the error that was its end. */
async function read(stdin: Readable): Promise<{ values: SourceValue[]; error?: unknown }> {
  const values: SourceValue[] = [];
  try {
    const source = await openSource('-', stdin);
    for await (const value of source.values) values.push(value);
    return { values };
  } catch (error) {
    return { values, error };
  }
}

/** Never ends after these. */
function endless(...chunks: (string | Buffer)[]): Readable {
  const stream = new Readable({ read() {} });
  for (const chunk of chunks) stream.push(chunk);
  return stream;
}

const DOCUMENT = JSON.stringify(
  { a: [1, -2.5e3, [], {}, [{ b: null }, true, false]], 'c"\\ü': 'd\n', e: { f: '' } },
  null,
  2,
);

describe('the data of jobs', () => {
  it('is one document over several lines, wherever they break', async () => {
    const { values } = await read(Readable.from([DOCUMENT]));
    expect(values).toEqual([{ value: JSON.parse(DOCUMENT), line: 1 }]);
    const broken = DOCUMENT.replaceAll(/([:,[\]{}])/g, '\n$1\n');
    expect((await read(Readable.from([broken]))).values[0]!.value).toEqual(JSON.parse(broken));
  });

  it.each([
    [1, 'text', ['bad\n']],
    [3, 'text after blank lines', ['\n \n', 'bad\n']],
    [2, 'a line that does not go on as it began', ['{"a":\n', '}\n']],
    [3, 'a second document', ['{\n', '}\n', '{\n']],
    [1, 'a string that is cut', ['{"a": "b\n']],
    [2, 'a number that is cut', ['[\n', '-\n', '1]\n']],
  ])('is refused with line %i at once for %s, before the input ends', async (line, _, chunks) => {
    const stdin = endless(...chunks);
    const { error } = await read(stdin);
    // Else it would keep the process.
    expect(stdin.destroyed).toBe(true);
    expect(error).toMatchObject({
      code: 'HOLDFAST_INPUT_INVALID',
      message: expect.stringMatching(new RegExp(`^stdin line ${line} is not JSON`)),
    });
  });

  it('is refused with the line when a long document has a mistake', async () => {
    const lines = Array.from({ length: 5000 }, (_, i) => (i === 3210 ? '  wrong,' : `  ${i},`));
    const { error } = await read(endless('[\n', `${lines.join('\n')}\n`, '  0,\n'.repeat(9999)));
    expect(error).toMatchObject({ message: expect.stringMatching(/^stdin line 3212 is not JSON/) });
  });

  it('is refused when the document does not end', async () => {
    const { error } = await read(Readable.from(['{\n  "a": [1,\n']));
    expect(error).toMatchObject({ message: expect.stringMatching(/^stdin is not JSON/) });
  });

  it.each([
    ['not UTF-8', Buffer.from([0xff, 0x0a]), /^stdin line 2 is not UTF-8/],
    ['not JSON', Buffer.from('bad\n'), /^stdin line 2 is not JSON/],
  ])('keeps the first line when the second is %s', async (_, second, message) => {
    const { values, error } = await read(endless('{"a":1}\n', second, '{"a":3}\n'));
    expect(values).toEqual([{ value: { a: 1 }, line: 1 }]);
    expect(error).toMatchObject({ message: expect.stringMatching(message) });
  });
});
