/** What a client's caller is told instead of what BullMQ and the journal throw. */
import { ErrorCode } from 'bullmq';
import { ClientClosedError, HoldfastError, InvalidInputError, JournalError } from '../errors.ts';

/** BullMQ throws a bare Error for options that do not fit together, and a number for a parent that is gone. */
export function translate(error: unknown): never {
  if (error instanceof JournalError && error.isClosed) saidClosed(error);
  if ((error as { code?: unknown }).code === ErrorCode.ParentJobNotExist) {
    throw new InvalidInputError(
      'options.parent',
      'names a job that is not in Redis',
      'Add the parent first, or both at once with flow().',
      { cause: error },
    );
  }
  const isBare =
    error instanceof Error &&
    !(error instanceof HoldfastError) &&
    error.constructor === Error &&
    !('code' in error);
  if (!isBare) throw error;
  throw new InvalidInputError(
    'options',
    `are refused by BullMQ: ${error.message}`,
    'Correct them and add the job again.',
    { cause: error },
  );
}

/** What is added after the end of a client. */
export function saidClosed(error: unknown): never {
  const isClosed = error instanceof JournalError && error.isClosed;
  throw isClosed ? new ClientClosedError('adding') : error;
}
