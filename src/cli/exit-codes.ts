/**
 * What a command's exit code says to a script. The numbers follow sysexits.h where it has one, and
 * `timeout(1)` for 124; `docs/cli.md` lists them for users, and a test holds the two together.
 */
import type { HoldfastError } from '../errors.ts';

export const EXIT = {
  done: 0,
  /** The job failed, or its outcome cannot be told any more. */
  jobFailed: 1,
  /** Wrong arguments or input. */
  usage: 2,
  /** EX_UNAVAILABLE: no service and no Redis, or they cannot keep the job now. */
  unavailable: 69,
  /** EX_SOFTWARE: an error that nobody handled. */
  software: 70,
  /** EX_NOPERM: the service wants a token. */
  denied: 77,
  /** EX_CONFIG. */
  config: 78,
  /** The job goes on; waiting for it took longer than `--timeout`. */
  timedOut: 124,
} as const;

/** A second signal ends a service at once: 128 and the signal's number. */
export const EXIT_OF_SIGNAL = { SIGTERM: 143, SIGINT: 130, SIGHUP: 129 } as const;

const USAGE_CODES: ReadonlySet<string> = new Set([
  'HOLDFAST_JOB_DATA_INVALID',
  'HOLDFAST_JOB_NAME_UNKNOWN',
  'HOLDFAST_INPUT_INVALID',
  'HOLDFAST_JOB_TOO_LARGE',
  'HOLDFAST_OUTAGE_NOT_FOUND',
  'HOLDFAST_OUTPUT_FAILED',
  'HOLDFAST_QUEUE_NAME_INVALID',
  'HOLDFAST_QUEUE_UNKNOWN',
]);

/** The exit code of an error of ours, also of one that came from the service over HTTP. */
export function exitCodeOf({ code }: HoldfastError): number {
  if (code === 'HOLDFAST_CONFIG_INVALID' || code === 'HOLDFAST_HANDLER_INVALID') {
    return EXIT.config;
  }
  if (code === 'HOLDFAST_ACCESS_DENIED') return EXIT.denied;
  return USAGE_CODES.has(code) ? EXIT.usage : EXIT.unavailable;
}
