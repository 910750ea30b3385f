/**
 * What `holdfast enqueue` is given as data: JSON on the command line, a file, or standard input;
 * one document, or many as NDJSON (one JSON value a line). Streams, so that a file of millions of
 * lines needs no memory, and refuses what is not UTF-8 or not JSON with the line where it stands.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { InvalidInputError } from '../errors.ts';

/** One document or line; the limit of a job is lower and refused by name. */
const VALUE_BYTES_MAX = 64 * 1024 * 1024;

/** Up to here a document is looked at with each of its lines, then whenever it has doubled. */
const CHECKED_CHARS = 4096;
const DOCUMENT_REMEDY = 'Give it a JSON document, or one a line.';

export interface SourceValue {
  value: unknown;
  /** From 1. */
  line: number;
}

export interface JobSource {
  /** For messages: "stdin", "jobs.ndjson", "the argument". */
  name: string;
  /** More than one value. */
  isBulk: boolean;
  values: AsyncIterable<SourceValue>;
  /** How much of the input was read, 0 to 1; undefined when its size is not known. */
  fractionRead(): number | undefined;
  /** What nobody reads to its end must not keep the process: who writes it may never end it. Idempotent. */
  close(): void;
}

/** Opens `argument`: JSON, `@file`, or `-`. @throws InvalidInputError */
export async function openSource(argument: string, stdin: Readable): Promise<JobSource> {
  if (argument === '-') return fromStream('stdin', stdin, undefined);
  if (!argument.startsWith('@')) {
    const value = parse(argument, 'the argument', 'Quote it for your shell: \'{"question":"…"}\'.');
    return { ...single('the argument', value), fractionRead: () => undefined, close() {} };
  }
  const path = argument.slice(1);
  const size = await sizeOf(path);
  return fromStream(path, createReadStream(path), size);
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const info = await stat(path);
    if (info.isDirectory()) throw Object.assign(new Error('it is a folder'), { code: 'EISDIR' });
    return info.isFile() ? info.size : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const what = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
    throw new InvalidInputError(path, what, 'Name a readable file after "@".', { cause: error });
  }
}

async function fromStream(
  name: string,
  stream: Readable,
  size: number | undefined,
): Promise<JobSource> {
  try {
    return await begin(name, stream, size);
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

async function begin(name: string, stream: Readable, size: number | undefined): Promise<JobSource> {
  let bytesRead = 0;
  const lines = linesOf(name, stream, (bytes) => {
    bytesRead += bytes;
  });
  const handle = {
    fractionRead: () => (size ? bytesRead / size : undefined),
    close: () => void stream.destroy(),
  };

  const first = await nextFilled(lines);
  if (first === undefined) {
    throw new InvalidInputError(name, 'is empty', DOCUMENT_REMEDY);
  }
  const firstValue = tryParse(first.text);
  // A first line that is no JSON by itself is the beginning of a document over several lines.
  if (firstValue === undefined) {
    const value = await document(name, first, lines);
    return { ...single(name, value), ...handle };
  }
  // What is wrong with the second line does not cost the first.
  const second = await nextFilled(lines).catch((error: unknown) => ({ error }));
  if (second === undefined) return { ...single(name, firstValue.value), ...handle };

  async function* values(): AsyncGenerator<SourceValue> {
    yield { value: firstValue!.value, line: first!.line };
    if ('error' in second!) throw second.error;
    for (let next = second; next !== undefined; next = await nextFilled(lines)) {
      const where = `${name} line ${next.line}`;
      yield { value: parse(next.text, where, 'Each line must be a JSON value.'), line: next.line };
    }
  }
  return { name, isBulk: true, values: values(), ...handle };
}

function single(name: string, value: unknown): Omit<JobSource, 'fractionRead' | 'close'> {
  async function* values(): AsyncGenerator<SourceValue> {
    yield { value, line: 1 };
  }
  return { name, isBulk: false, values: values() };
}

interface Line {
  text: string;
  line: number;
}

/** Lines of UTF-8 text, each bounded; the last one needs no newline. */
async function* linesOf(
  name: string,
  stream: Readable,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Line, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let line = 0;
  const take = (): Line => {
    line++;
    try {
      return { text: decoder.decode(Buffer.concat(pending)), line };
    } catch (cause) {
      throw new InvalidInputError(
        `${name} line ${line}`,
        'is not UTF-8 text',
        'Give it JSON in UTF-8; binary data can be sent as base64 in a string.',
        { cause },
      );
    } finally {
      pending = [];
      pendingBytes = 0;
    }
  };
  for await (const chunk of stream) {
    let rest = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer);
    onBytes(rest.length);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      pending.push(rest.subarray(0, end));
      rest = rest.subarray(end + 1);
      yield take();
    }
    pending.push(rest);
    pendingBytes += rest.length;
    if (pendingBytes > VALUE_BYTES_MAX) throw tooLong(name);
  }
  if (pendingBytes > 0) yield take();
  return undefined;
}

async function nextFilled(lines: AsyncGenerator<Line, undefined>): Promise<Line | undefined> {
  for (;;) {
    const { value } = await lines.next();
    if (value === undefined || value.text.trim() !== '') return value;
  }
}

/** One document over several lines. @throws InvalidInputError as soon as it cannot become one any more */
async function document(
  name: string,
  first: Line,
  lines: AsyncGenerator<Line, undefined>,
): Promise<unknown> {
  const texts: string[] = [];
  let chars = 0;
  let checkedChars = 0;
  const take = (text: string): void => {
    texts.push(text);
    chars += text.length + 1;
    if (chars > VALUE_BYTES_MAX) throw tooLong(name);
    // Not each time: a document of many lines would be read once for each.
    if (chars > CHECKED_CHARS && chars < 2 * checkedChars) return;
    checkedChars = chars;
    check(name, texts, first.line);
  };
  take(first.text);
  for await (const { text } of lines) take(text);
  check(name, texts, first.line);
  return parse(texts.join('\n'), name, DOCUMENT_REMEDY);
}

/** @throws InvalidInputError with the line, if nothing that follows can make these lines JSON */
function check(name: string, texts: readonly string[], firstLine: number): void {
  const mistakeIn = (count: number): Error | undefined => mistake(texts.slice(0, count));
  if (mistakeIn(texts.length) === undefined) return;
  let good = 0;
  let bad = texts.length;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    if (mistakeIn(middle) === undefined) good = middle;
    else bad = middle;
  }
  throw notJson(`${name} line ${firstLine + good}`, mistakeIn(bad)!, DOCUMENT_REMEDY);
}

/** Undefined also for what may be a beginning: the parser met the end, and nothing wrong before it. */
function mistake(lines: readonly string[]): Error | undefined {
  const text = `${lines.join('\n')}\n`;
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    const { message } = error as Error;
    // The words are V8's; others would be taken for a beginning, and told at the end of the input.
    const [, position] = /at position (\d+)/.exec(message) ?? [];
    const isCertain =
      position === undefined
        ? message.startsWith('Unexpected token')
        : Number(position) < text.length;
    return isCertain ? (error as Error) : undefined;
  }
}

function tooLong(name: string): InvalidInputError {
  return new InvalidInputError(
    name,
    `has a document of more than ${VALUE_BYTES_MAX} bytes`,
    'Store the data elsewhere and enqueue a reference to it.',
  );
}

function tryParse(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

function parse(text: string, where: string, remedy: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notJson(where, cause as Error, remedy);
  }
}

function notJson(where: string, cause: Error, remedy: string): InvalidInputError {
  const what = `is not JSON (${cause.message.slice(0, 200)})`;
  return new InvalidInputError(where, what, remedy, { cause });
}
