/**
 * Which queues a producer may name. BullMQ itself takes any name and keeps the job for ever if
 * nobody consumes it; a misspelt name over HTTP would so be a job accepted and never run. A name
 * that no handler of this service has is refused, unless the caller says that it is meant.
 */
import { distance } from 'fastest-levenshtein';
import { QueueNameError, UnknownQueueError } from '../errors.ts';

/** Longer names are a mistake or an attack: they become part of every Redis key of the queue. */
export const QUEUE_NAME_CHARS_MAX = 128;

/** Further apart than this and a suggestion only confuses. */
const SUGGESTION_EDITS_MAX = 3;

/** Throws QueueNameError for a name that BullMQ or Redis Cluster could not use. */
export function assertUsableQueueName(queue: string): void {
  const remedy = `Use 1 to ${QUEUE_NAME_CHARS_MAX} letters, digits, "-", "_", "." or "/".`;
  if (queue === '') throw new QueueNameError(queue, 'is empty', remedy);
  if (queue.length > QUEUE_NAME_CHARS_MAX) {
    throw new QueueNameError(
      `${queue.slice(0, 32)}…`,
      `has ${queue.length} characters; ${QUEUE_NAME_CHARS_MAX} are allowed`,
      remedy,
    );
  }
  if (queue.includes(':')) {
    throw new QueueNameError(
      queue,
      'contains ":", which BullMQ uses between parts of a key',
      remedy,
    );
  }
  // Other letters are fine; what cannot be seen or would break a hash tag is not.
  if (/[\p{C}\p{Z}{}]/u.test(queue)) {
    throw new QueueNameError(queue, 'contains a space, brace or invisible character', remedy);
  }
}

/** Throws unless `queue` is usable and one of `known`, or `allowUnknown`. */
export function assertKnownQueue(
  queue: string,
  known: readonly string[],
  allowUnknown: boolean,
): void {
  assertUsableQueueName(queue);
  if (allowUnknown || known.includes(queue)) return;
  throw new UnknownQueueError(queue, known, nearestName(queue, known));
}

/** The known name that was probably meant. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const [best] = known
    .map((candidate) => ({
      candidate,
      edits: distance(name.toLowerCase(), candidate.toLowerCase()),
    }))
    .filter(({ candidate, edits }) => edits <= Math.min(SUGGESTION_EDITS_MAX, candidate.length - 1))
    .sort((a, b) => a.edits - b.edits);
  return best?.candidate;
}
