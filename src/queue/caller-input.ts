/**
 * What a client is called with, where no compiler looked: each mistake is named, and nothing that the
 * caller gave is overlooked.
 */
import { InvalidInputError } from '../errors.ts';

/** Names of BullMQ's that would be overlooked here. */
const OTHER_NAMES: Readonly<Record<string, string>> = { opts: 'options', queueName: 'queue' };

/**
 * Where no compiler looked.
 * @param of what a field of it begins with
 * @param fields all that it may have; absent: it may have more
 */
export function checkShape(
  value: unknown,
  at: string,
  remedy: string,
  of = `${at}.`,
  fields?: readonly string[],
): void {
  if (typeof value !== 'object' || value === null) {
    throw new InvalidInputError(at, 'is not an object', remedy);
  }
  for (const [theirs, ours] of Object.entries(OTHER_NAMES)) {
    if (theirs in value) {
      const what = `is called "${ours}" here`;
      throw new InvalidInputError(`${of}${theirs}`, what, 'Give it that name.');
    }
  }
  const other = fields && Object.keys(value).find((name) => !fields.includes(name));
  if (other !== undefined) {
    throw new InvalidInputError(`${of}${other}`, 'is not known here', remedy);
  }
}

export function checkList(value: unknown, at: string): void {
  if (!Array.isArray(value)) {
    throw new InvalidInputError(at, 'is not an array', 'Give an array, of one if need be.');
  }
}
