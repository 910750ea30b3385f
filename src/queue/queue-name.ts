/**
 * Which queue names can be used at all: by BullMQ, by Redis Cluster, and by a person who reads them.
 * Whether this service knows the queue is another question, asked by those who take jobs from outside.
 */
import { QueueNameError } from '../errors.ts';

/** Longer names are a mistake or an attack: they become part of every Redis key of the queue. */
export const QUEUE_NAME_CHARS_MAX = 128;

/** @throws QueueNameError for a name that BullMQ or Redis Cluster could not use. */
export function assertQueueName(queue: unknown): asserts queue is string {
  const mistake = queueNameMistake(queue);
  if (mistake === undefined) return;
  const shown = typeof queue === 'string' ? printable(queue) : String(typeof queue);
  throw new QueueNameError(
    shown,
    mistake,
    `Use 1 to ${QUEUE_NAME_CHARS_MAX} letters, digits, "-", "_", "." or "/".`,
  );
}

/** What is wrong with the name, as the end of a sentence; undefined when it can be used. */
export function queueNameMistake(queue: unknown): string | undefined {
  if (typeof queue !== 'string') return 'is not a string';
  if (queue === '') return 'is empty';
  if (queue.length > QUEUE_NAME_CHARS_MAX) {
    return `has ${queue.length} characters; ${QUEUE_NAME_CHARS_MAX} are allowed`;
  }
  if (queue.includes(':')) return 'contains ":", which BullMQ uses between parts of a key';
  // Other letters are fine; what cannot be seen or would break a hash tag is not.
  if (/[\p{C}\p{Z}{}]/u.test(queue)) return 'contains a space, brace or invisible character';
  return undefined;
}

function printable(name: string): string {
  const short = name.length > 32 ? `${name.slice(0, 32)}…` : name;
  return short.replace(/\p{C}/gu, '\uFFFD');
}
