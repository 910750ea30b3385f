/** How a route tells of a batch that it could not add as a whole. */
import type { Accepted } from '../queue/client.ts';

/** Some of the jobs are kept, or may be; all others are not. */
export class BatchError extends Error {
  /** In their order. */
  readonly kept: readonly Accepted[];
  /** Ids of jobs of which nobody knows. */
  readonly unknown: readonly string[];
  readonly reason: Error;

  constructor(kept: readonly Accepted[], unknown: readonly string[], reason: Error) {
    super(reason.message, { cause: reason });
    this.name = 'BatchError';
    this.kept = kept;
    this.unknown = unknown;
    this.reason = reason;
  }
}
