/**
 * Every error that Holdfast raises, in one place: a flat table, which may be long.
 *
 * Each has a stable `code`: callers switch on it, never on the text. Each message has two parts,
 * what happened and what to do, so that a person who reads only the message can act. No secret may
 * ever stand in a message or in `data`.
 */

export interface ErrorDetails {
  /** Values that a caller may need (names, limits, paths); never payloads, never secrets. */
  data?: Readonly<Record<string, unknown>>;
  cause?: unknown;
}

/** The base of all: `message` is "<what happened> <what to do>". */
export class HoldfastError extends Error {
  /** Stable identifier, `HOLDFAST_…`. */
  readonly code: string;
  /** What to do next, as a sentence. */
  readonly remedy: string;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: string, what: string, remedy: string, details: ErrorDetails = {}) {
    super(
      `${what}${what.endsWith('\n') ? '' : ' '}${remedy}`.trim(),
      details.cause === undefined ? {} : { cause: details.cause },
    );
    this.name = new.target.name;
    this.code = code;
    this.remedy = remedy;
    this.data = Object.freeze({ ...details.data });
  }
}

/** One mistake in the configuration. */
export interface ConfigProblem {
  /** The variable or file and field, e.g. `HTTP_PORT` or `config/schedules.json:$[2].cron`. */
  where: string;
  /** The offending value, redacted when it may hold a secret. */
  value: string;
  /** What is allowed instead. */
  allowed: string;
}

/** The configuration is invalid: all mistakes at once. The process exits with 78 (EX_CONFIG). */
export class ConfigError extends HoldfastError {
  readonly problems: readonly ConfigProblem[];
  constructor(problems: readonly ConfigProblem[]) {
    const lines = problems.map((p) => `  ${p.where}: ${p.value} is not valid; ${p.allowed}`);
    super(
      'HOLDFAST_CONFIG_INVALID',
      `The configuration has ${problems.length === 1 ? 'a mistake' : `${problems.length} mistakes`}:\n${lines.join('\n')}\n`,
      'Correct the values named above and start again.',
      { data: { problems } },
    );
    this.problems = problems;
  }
}

/** A file in the workers folder cannot be used; the service refuses to start (exit 78). */
export class HandlerFileError extends HoldfastError {
  constructor(file: string, what: string, remedy: string, details: ErrorDetails = {}) {
    super('HOLDFAST_HANDLER_INVALID', `${file}: ${what}`, remedy, {
      ...details,
      data: { file, ...details.data },
    });
  }
}

/** Several files cannot be used: all of them at once. */
export class HandlerFilesError extends HoldfastError {
  readonly errors: readonly HandlerFileError[];
  constructor(errors: readonly HandlerFileError[]) {
    super(
      'HOLDFAST_HANDLER_INVALID',
      `${errors.length} handlers cannot be used:\n${errors.map(({ message }) => `  ${message}`).join('\n')}\n`,
      'Correct the files named above and start again.',
      { data: { files: errors.map(({ data }) => data.file) } },
    );
    this.errors = errors;
  }
}

/** A job's payload is larger than MAX_JOB_BYTES; nothing was stored. */
export class JobTooLargeError extends HoldfastError {
  /** `field` is where it stands in the input, e.g. `jobs[3].data`. */
  constructor(queue: string, bytes: number, bytesMax: number, field = 'data') {
    super(
      'HOLDFAST_JOB_TOO_LARGE',
      `${field === 'data' ? 'The data of a job' : field} for queue "${queue}" has ${bytes} bytes; MAX_JOB_BYTES allows ${bytesMax}.`,
      'Store the data elsewhere and enqueue a reference to it, or raise MAX_JOB_BYTES.',
      { data: { queue, field, bytes, bytesMax } },
    );
  }
}

/** A handler returned more than MAX_RESULT_BYTES; the job fails, without further attempts. */
export class ResultTooLargeError extends HoldfastError {
  constructor(queue: string, bytes: number, bytesMax: number) {
    super(
      'HOLDFAST_RESULT_TOO_LARGE',
      `The result of a job of queue "${queue}" has ${bytes} bytes; MAX_RESULT_BYTES allows ${bytesMax}.`,
      'Write the result to a store and return a reference to it, or raise MAX_RESULT_BYTES.',
      { data: { queue, bytes, bytesMax } },
    );
  }
}

/** A handler returned what JSON cannot hold; the job fails, without further attempts. */
export class ResultNotJsonError extends HoldfastError {
  constructor(queue: string, what: string, cause?: unknown) {
    super(
      'HOLDFAST_RESULT_NOT_JSON',
      `The result of a job of queue "${queue}" cannot be stored: ${what}.`,
      'Return plain values: numbers, strings, booleans, null, arrays and objects without cycles.',
      { data: { queue }, cause },
    );
  }
}

/** A job's data does not fit the handler's schema. */
export class InvalidJobDataError extends HoldfastError {
  constructor(queue: string, issues: readonly { path: string; message: string }[]) {
    const text = issues.map((i) => `${i.path || '(root)'}: ${i.message}`).join('; ');
    super(
      'HOLDFAST_JOB_DATA_INVALID',
      `The data of the job does not fit the schema of queue "${queue}": ${text}.`,
      'Correct the data and enqueue the job again.',
      { data: { queue, issues } },
    );
  }
}

/** No handler for this job name in the queue. */
export class UnknownJobNameError extends HoldfastError {
  constructor(queue: string, jobName: string, known: readonly string[]) {
    super(
      'HOLDFAST_JOB_NAME_UNKNOWN',
      `Queue "${queue}" has no handler for jobs named "${jobName}" (it has: ${known.join(', ')}).`,
      'Correct the name, or deploy the handler and retry the job.',
      { data: { queue, jobName, known } },
    );
  }
}

/** A queue name that this service does not know or that BullMQ cannot use. */
export class QueueNameError extends HoldfastError {
  constructor(queue: string, what: string, remedy: string) {
    super('HOLDFAST_QUEUE_NAME_INVALID', `Queue name "${queue}" ${what}.`, remedy, {
      data: { queue },
    });
  }
}

/** A handler ran longer than its `timeout`. */
export class HandlerTimeoutError extends HoldfastError {
  constructor(queue: string, timeoutMs: number) {
    super(
      'HOLDFAST_HANDLER_TIMEOUT',
      `The handler of queue "${queue}" ran longer than its timeout of ${timeoutMs} ms.`,
      'Make the handler obey its signal, or raise its timeout.',
      { data: { queue, timeoutMs } },
    );
  }
}

/** Redis is away: what was asked cannot be done now and was not kept, or its answer did not come, as it says. */
export class RedisUnavailableError extends HoldfastError {
  /** `said` replaces the text where more is known, e.g. which Redis and the condition's remedy. */
  constructor(
    operation: string,
    condition: string,
    outageId: string | undefined,
    cause?: unknown,
    said?: { what: string; remedy: string },
  ) {
    super(
      'HOLDFAST_REDIS_UNAVAILABLE',
      said?.what ?? `Redis is away (${condition}): ${operation} was not done.`,
      said?.remedy ?? 'Try again when readiness is green; `holdfast doctor` tells what is wrong.',
      { data: { operation, condition, outageId }, cause },
    );
  }

  /** It was sent, and no answer came. */
  static unanswered(operation: string, condition: string, outageId: string | undefined) {
    return new RedisUnavailableError(operation, condition, outageId, undefined, {
      what: `Redis is away (${condition}) and did not answer ${operation}: it may or may not have been done.`,
      remedy: 'Look before you do it again, when readiness is green.',
    });
  }
}

/** The run's lock was lost: another worker truly has the job. The reason of the handler's signal. */
export class LockLostError extends HoldfastError {
  constructor(queue: string, jobId: string) {
    super(
      'HOLDFAST_LOCK_LOST',
      `The lock of job ${jobId} of queue "${queue}" was lost: another worker has the job.`,
      'Stop working on it; the outcome of this run is not recorded.',
      { data: { queue, jobId } },
    );
  }
}

/** This process alone is cut off and the lock is about to expire: a reason of the handler's signal. */
export class LockExpiringError extends HoldfastError {
  constructor(queue: string, jobId: string) {
    super(
      'HOLDFAST_LOCK_EXPIRING',
      `The lock of job ${jobId} of queue "${queue}" is about to expire while Redis is out of reach.`,
      'Stop working: the job is handed back, and another worker may have it soon.',
      { data: { queue, jobId } },
    );
  }
}

/** The service is stopping: the reason of the handler's signal when the grace period is over. */
export class ShutdownError extends HoldfastError {
  constructor(graceMs: number) {
    super(
      'HOLDFAST_SHUTDOWN',
      `The service is stopping and the grace period of ${graceMs} ms is over.`,
      'Stop working; the job is handed back and runs again elsewhere.',
      { data: { graceMs } },
    );
  }
}

/** The journal is full (bytes, entries or disk); what it took before stays. */
export class JournalFullError extends HoldfastError {
  /** `jobIds`: what was refused for it. */
  constructor(path: string, limit: string, cause?: unknown, jobIds?: readonly string[]) {
    super(
      'HOLDFAST_JOURNAL_FULL',
      `The journal at ${path} is full (${limit})${notKept(jobIds)}.`,
      'Free disk space or raise the limit; entries already accepted are kept.',
      { data: { path, limit, ...namedIds(jobIds) }, cause },
    );
  }

  of(jobIds: readonly string[]): JournalFullError {
    return new JournalFullError(`${this.data.path}`, `${this.data.limit}`, this.cause, jobIds);
  }
}

/** An Idempotency-Key that was sent before comes with another body; nothing was added. */
export class IdempotencyKeyError extends HoldfastError {
  constructor(queue: string) {
    super(
      'HOLDFAST_IDEMPOTENCY_KEY_REUSED',
      `This Idempotency-Key was sent to queue "${queue}" before, with another body.`,
      'Send a new key for a new job, or the same body for the same job.',
      { data: { queue } },
    );
  }
}

const CLOSED = 'is closed';

/** The journal cannot be opened or written. */
export class JournalError extends HoldfastError {
  readonly #what: string;
  /** `jobIds`: what was refused for it. */
  constructor(
    path: string,
    what: string,
    remedy: string,
    cause?: unknown,
    jobIds?: readonly string[],
  ) {
    super(
      'HOLDFAST_JOURNAL_UNUSABLE',
      `The journal at ${path} ${what}${notKept(jobIds)}.`,
      remedy,
      { data: { path, ...namedIds(jobIds) }, cause },
    );
    this.#what = what;
  }

  /** The journal is closed, as its process stops. */
  static closed(path: string): JournalError {
    return new JournalError(path, CLOSED, 'Nothing more is kept while the service stops.');
  }

  get isClosed(): boolean {
    return this.#what === CLOSED;
  }

  of(jobIds: readonly string[]): JournalError {
    return new JournalError(`${this.data.path}`, this.#what, this.remedy, this.cause, jobIds);
  }
}

function notKept(jobIds: readonly string[] = []): string {
  if (jobIds.length === 0) return '';
  return jobIds.length === 1 ? `; job ${jobIds[0]} is not kept` : '; none of the jobs is kept';
}

function namedIds(jobIds: readonly string[] = []): { jobId?: string; jobIds?: readonly string[] } {
  if (jobIds.length === 0) return {};
  return jobIds.length === 1 ? { jobId: jobIds[0]! } : { jobIds };
}

/** A request or a command line input that cannot be used; `field` says where. */
export class InvalidInputError extends HoldfastError {
  /** Where the mistake is, e.g. `options.delay` or `jobs[3].data`; empty for the whole. */
  readonly field: string;
  constructor(field: string, what: string, remedy: string, details: ErrorDetails = {}) {
    super('HOLDFAST_INPUT_INVALID', `${field === '' ? 'The input' : field} ${what}.`, remedy, {
      ...details,
      data: { field, ...details.data },
    });
    this.field = field;
  }
}

/** A queue's data in Redis is broken: what was asked of it cannot be done until that is mended. */
export class QueueSetAsideError extends HoldfastError {
  constructor(queue: string, reason: string) {
    super(
      'HOLDFAST_QUEUE_SET_ASIDE',
      `Queue "${queue}" is set aside, since its data in Redis is broken: ${reason}.`,
      'Rename or delete what does not belong there: the queue comes back by itself.',
      { data: { queue } },
    );
  }
}

/** The service has no such endpoint. */
export class UnknownEndpointError extends HoldfastError {
  constructor(method: string, path: string, endpoints: string) {
    super(
      'HOLDFAST_ENDPOINT_UNKNOWN',
      `${method} ${path.slice(0, 200)} is not an endpoint.`,
      `Endpoints: ${endpoints}.`,
      { data: { method } },
    );
  }
}

/** The client was asked something after its `close()`. */
export class ClientClosedError extends HoldfastError {
  constructor(operation: string) {
    super(
      'HOLDFAST_CLIENT_CLOSED',
      `The client is closed: ${operation} was not done.`,
      'Ask before close(), or create another client.',
      { data: { operation } },
    );
  }
}

/** No handler of this service consumes the queue, so a job in it would wait unseen. */
export class UnknownQueueError extends HoldfastError {
  constructor(queue: string, known: readonly string[], nearest: string | undefined) {
    const list = known.length === 0 ? 'none' : known.join(', ');
    super(
      'HOLDFAST_QUEUE_UNKNOWN',
      `No worker of this service handles queue "${queue}" (it handles: ${list}).`,
      `${nearest === undefined ? '' : `Did you mean "${nearest}"? `}If another service consumes it, allow it with "?unknown=allow" (command line: --unknown).`,
      { data: { queue, known, nearest } },
    );
  }
}

/** The queue has no job of this id, or has it no longer. */
export class JobNotFoundError extends HoldfastError {
  constructor(queue: string, jobId: string) {
    super(
      'HOLDFAST_JOB_NOT_FOUND',
      `Queue "${queue}" has no job ${JSON.stringify(jobId)}.`,
      'Check the id; finished jobs are removed when their retention is over.',
      { data: { queue, jobId } },
    );
  }
}

/** No record of an outage has this id here, or several have this beginning. */
export class OutageNotFoundError extends HoldfastError {
  constructor(outageId: string, where: string, found: readonly string[] = []) {
    super(
      'HOLDFAST_OUTAGE_NOT_FOUND',
      found.length > 1
        ? `${found.length} outages have an id that begins with ${JSON.stringify(outageId)}: ${found.join(', ')}.`
        : `There is no record of an outage ${JSON.stringify(outageId)} ${where}.`,
      found.length > 1
        ? 'Give more of the id.'
        : '`holdfast outages` lists the records (the oldest are removed when there are 200); with --fleet, Redis is asked for a fleet outage of this id too.',
      { data: { outageId, found } },
    );
  }
}

/** The job has no document, or none yet. */
export class DocumentUnavailableError extends HoldfastError {
  constructor(queue: string, jobId: string, state: string, what: string, remedy: string) {
    super(
      'HOLDFAST_DOCUMENT_UNAVAILABLE',
      `Job ${JSON.stringify(jobId)} of queue "${queue}" ${what}.`,
      remedy,
      { data: { queue, jobId, state } },
    );
  }
}

/** A request from where, or without what, the service does not serve it. */
export class AccessDeniedError extends HoldfastError {
  /** `unauthenticated`: no or a wrong token; `forbidden`: another Host or Origin. */
  readonly kind: 'unauthenticated' | 'forbidden';
  constructor(kind: 'unauthenticated' | 'forbidden', what: string, remedy: string) {
    super('HOLDFAST_ACCESS_DENIED', what, remedy, { data: { kind } });
    this.kind = kind;
  }
}

/** The HTTP server cannot listen where it was told to. */
export class HttpListenError extends HoldfastError {
  constructor(host: string, port: number, what: string, remedy: string, cause?: unknown) {
    super('HOLDFAST_HTTP_LISTEN', `HTTP cannot listen on ${host}:${port}: ${what}.`, remedy, {
      data: { host, port },
      cause,
    });
  }
}

/** This replica cannot serve the request now: it is starting, stopping or at a limit. */
export class ServiceBusyError extends HoldfastError {
  constructor(what: string, remedy: string) {
    super('HOLDFAST_SERVICE_BUSY', what, remedy);
  }
}

/** One address asks more often than it may, or tries tokens. `waitMs`: after this it may ask again. */
export class RateLimitedError extends HoldfastError {
  constructor(what: string, waitMs: number) {
    const seconds = Math.max(1, Math.ceil(waitMs / 1000));
    super(
      'HOLDFAST_RATE_LIMITED',
      `Too many ${what} from this address.`,
      `Try again in ${seconds} s; send many jobs in one request ({ "jobs": [ … ] }), or raise HTTP_RATE_MAX.`,
      { data: { retryAfterSeconds: seconds } },
    );
  }
}

/** The service was stopped before its start was done; an instance starts once. */
export class ServiceStoppedError extends HoldfastError {
  constructor() {
    super(
      'HOLDFAST_SERVICE_STOPPED',
      'The service was stopped before its start was done.',
      'Create another one with createService() to start again.',
    );
  }
}

/** The command line found neither a running service nor a Redis. */
export class NothingReachableError extends HoldfastError {
  constructor(tried: readonly string[]) {
    super(
      'HOLDFAST_NOTHING_REACHABLE',
      `Neither a Holdfast service nor a Redis can be reached; nothing was done. Tried:\n${tried.map((line) => `  ${line}`).join('\n')}\n`,
      'Start one with `holdfast start`, or say where one is: --url http://host:port, or REDIS_URL.',
      { data: { tried } },
    );
  }
}

/** A Redis address that cannot be understood; the message never shows a password. */
export class RedisUrlError extends HoldfastError {
  constructor(redactedUrl: string, what: string) {
    super(
      'HOLDFAST_REDIS_URL_INVALID',
      `The Redis address ${redactedUrl} ${what}.`,
      'Write redis://host:6379/0, rediss://… for TLS, or unix:///path/to.sock.',
      { data: { url: redactedUrl } },
    );
  }
}

/** A password or certificate file cannot be read; what was read before is used meanwhile. */
export class SecretFileError extends HoldfastError {
  constructor(purpose: string, path: string, isFirstRead: boolean, cause: unknown) {
    super(
      'HOLDFAST_SECRET_FILE_UNREADABLE',
      `The ${purpose} in ${path} cannot be read (${(cause as NodeJS.ErrnoException).code}).`,
      isFirstRead
        ? 'Make the file readable for the service.'
        : 'The content read before is used until the file is readable again.',
      { data: { path } },
    );
  }
}

/** The Redis that Holdfast starts itself did not come up. */
export class EmbeddedRedisError extends HoldfastError {
  constructor(what: string, remedy: string, details: ErrorDetails = {}) {
    super('HOLDFAST_EMBEDDED_REDIS_FAILED', what, remedy, details);
  }
}

/** The answer to an enqueue was lost: whether the jobs are kept is not known. */
export class OutcomeUnknownError extends HoldfastError {
  readonly #asked: string;

  constructor(asked: string, jobIds: readonly string[], cause?: unknown) {
    const [first] = jobIds;
    const isOne = jobIds.length === 1 && first !== undefined;
    super(
      'HOLDFAST_OUTCOME_UNKNOWN',
      `No answer from ${asked}: whether ${isOne ? `job ${first} was` : `${jobIds.length} jobs were`} added is not known.`,
      isOne
        ? `Add it again with this jobId, or run the command again with --job-id ${first}: then it is not added twice while Redis has it.`
        : 'Add them again with the same ids, or look at the queue before you do: then none is added twice while Redis has it.',
      { data: { jobIds }, cause },
    );
    this.#asked = asked;
  }

  of(jobIds: readonly string[]): OutcomeUnknownError {
    return new OutcomeUnknownError(this.#asked, jobIds, this.cause);
  }
}
