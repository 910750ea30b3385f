/**
 * Which queues a producer may name. BullMQ itself takes any name and keeps the job for ever if
 * nobody consumes it; a misspelt name over HTTP would so be a job accepted and never run. A name
 * that no handler of this service has is refused, unless the caller says that it is meant.
 */
import { distance } from 'fastest-levenshtein';
import { UnknownQueueError } from '../errors.ts';
import { assertQueueName } from '../queue/queue-name.ts';

/** Further apart than this and a suggestion only confuses. */
const SUGGESTION_EDITS_MAX = 3;

/** Throws unless `queue` is usable and one of `known`, or `allowUnknown`. */
export function assertKnownQueue(
  queue: string,
  known: readonly string[],
  allowUnknown: boolean,
): void {
  assertQueueName(queue);
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
