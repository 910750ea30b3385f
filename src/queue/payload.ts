/**
 * What a job may carry: data that is JSON, not larger than MAX_JOB_BYTES and not nested beyond what
 * every reader of the queue can follow. One rule for the client, HTTP and the command line.
 */
import { InvalidInputError, JobTooLargeError } from '../errors.ts';

/**
 * Levels of arrays and objects in a job's data. Most JSON readers recurse: Redis' cjson gives up at
 * 1,000 and Python's at about as many. Nobody's real data comes near 100.
 */
export const DATA_DEPTH_MAX = 100;

/**
 * Bytes of `data` as JSON. `field` is where it stands in the input, for the error.
 * @throws JobTooLargeError, InvalidInputError
 */
export function payloadBytes(
  queue: string,
  data: unknown,
  bytesMax: number,
  field = 'data',
): number {
  return jsonBytes(queue, jsonOf(data, field), bytesMax, field);
}

/**
 * As `payloadBytes`, of data that is JSON text already.
 * @throws JobTooLargeError, InvalidInputError
 */
export function jsonBytes(queue: string, text: string, bytesMax: number, field: string): number {
  const bytes = Buffer.byteLength(text);
  if (bytes > bytesMax) throw new JobTooLargeError(queue, bytes, bytesMax, field);
  if (depthOf(text) > DATA_DEPTH_MAX) throw tooDeep(field);
  return bytes;
}

/** @throws InvalidInputError */
export function jsonOf(data: unknown, field: string): string {
  // BullMQ stores a job without data as an empty object.
  if (data === undefined) return '{}';
  try {
    const text = JSON.stringify(data) as string | undefined;
    if (text !== undefined) return text;
  } catch (error) {
    if (error instanceof RangeError) throw tooDeep(field, error);
    const { message } = error as Error;
    throw new InvalidInputError(
      field,
      `cannot be written as JSON (${message.split('\n')[0]})`,
      'Send plain values: numbers, strings, booleans, null, arrays and objects without cycles.',
      { cause: error },
    );
  }
  throw new InvalidInputError(
    field,
    `is a ${typeof data}, which JSON cannot hold`,
    'Send plain values: numbers, strings, booleans, null, arrays and objects.',
  );
}

function tooDeep(field: string, cause?: unknown): InvalidInputError {
  return new InvalidInputError(
    field,
    `is nested deeper than ${DATA_DEPTH_MAX} levels`,
    'Flatten it, or send it as a string.',
    cause === undefined ? {} : { cause },
  );
}

/** Levels of brackets outside of strings in valid JSON; never recurses. */
export function depthOf(json: string): number {
  // Every level takes two characters, so that short texts need no look.
  if (json.length <= 2 * DATA_DEPTH_MAX) return 0;
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < json.length; i += 1) {
    const char = json.charCodeAt(i);
    if (char === QUOTE) i = closingQuote(json, i + 1);
    else if (char === OPEN_BRACKET || char === OPEN_BRACE) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (char === CLOSE_BRACKET || char === CLOSE_BRACE) depth -= 1;
  }
  return deepest;
}

/** Where a string ends whose first character is at `from`; long texts are not looked at one by one. */
function closingQuote(json: string, from: number): number {
  let end = json.indexOf('"', from);
  while (isEscaped(json, end)) end = json.indexOf('"', end + 1);
  return end;
}

/** An odd number of backslashes stands before it. */
function isEscaped(json: string, at: number): boolean {
  let before = at - 1;
  while (json.charCodeAt(before) === BACKSLASH) before -= 1;
  return (at - before) % 2 === 0;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
