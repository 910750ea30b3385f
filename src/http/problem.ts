/**
 * Every error that leaves over HTTP, as an RFC 9457 problem document: which field, what is wrong
 * with it, what to do, and our stable error code. What we did not foresee leaves as a plain 500:
 * no message, stack or path of an unforeseen error is ever shown to a caller.
 */
import { AccessDeniedError, DocumentUnavailableError, HoldfastError } from '../errors.ts';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** Where the codes are explained; a relative reference, so that it works in any checkout. */
const TYPE_PREFIX = 'urn:holdfast:problem:';

/** Seconds after which a caller may try again while Redis is away. Short: recovery is quick. */
const RETRY_AFTER_SECONDS = 2;

export interface Problem {
  type: string;
  title: string;
  status: number;
  /** What happened and what to do. */
  detail: string;
  /** Our stable code, `HOLDFAST_…`. */
  code: string;
  /** What to do, alone. */
  remedy: string;
  /** The path that was asked. */
  instance: string;
  /** Where in the request the mistake is, when it is in one place. */
  field?: string;
  /** Names, limits and ids that belong to the error. */
  [extension: string]: unknown;
}

export interface ProblemAnswer {
  problem: Problem;
  headers: Record<string, string>;
  /** The service's own fault: worth a line with the stack in its log. */
  isOurs: boolean;
}

interface Kind {
  status: number;
  title: string;
  retryAfter?: boolean;
}

const KINDS: Readonly<Record<string, Kind>> = {
  HOLDFAST_INPUT_INVALID: { status: 400, title: 'Invalid request' },
  HOLDFAST_QUEUE_NAME_INVALID: { status: 400, title: 'Invalid queue name' },
  HOLDFAST_JOB_DATA_INVALID: { status: 400, title: 'Invalid job data' },
  HOLDFAST_JOB_NAME_UNKNOWN: { status: 400, title: 'Unknown job name' },
  HOLDFAST_ENDPOINT_UNKNOWN: { status: 404, title: 'Not found' },
  HOLDFAST_QUEUE_UNKNOWN: { status: 404, title: 'Unknown queue' },
  HOLDFAST_JOB_NOT_FOUND: { status: 404, title: 'No such job' },
  HOLDFAST_OUTAGE_NOT_FOUND: { status: 404, title: 'No such outage' },
  HOLDFAST_JOB_TOO_LARGE: { status: 413, title: 'Job too large' },
  HOLDFAST_IDEMPOTENCY_KEY_REUSED: { status: 422, title: 'Key was used for another request' },
  HOLDFAST_RATE_LIMITED: { status: 429, title: 'Too often' },
  HOLDFAST_SERVICE_BUSY: { status: 503, title: 'Not now', retryAfter: true },
  HOLDFAST_CLIENT_CLOSED: { status: 503, title: 'Stopping', retryAfter: true },
  HOLDFAST_REDIS_UNAVAILABLE: { status: 503, title: 'Redis is away', retryAfter: true },
  HOLDFAST_QUEUE_SET_ASIDE: { status: 503, title: 'Queue set aside', retryAfter: true },
  HOLDFAST_JOURNAL_UNUSABLE: { status: 503, title: 'Journal unusable', retryAfter: true },
  HOLDFAST_OUTCOME_UNKNOWN: { status: 504, title: 'Outcome unknown', retryAfter: true },
  HOLDFAST_JOURNAL_FULL: { status: 507, title: 'Journal full' },
};

/** The body of a request: its size as the request says it, if it does, and the limit. */
export interface BodySize {
  bytes?: number | undefined;
  bytesMax: number;
}

/** Fastify's own refusals, in our words. */
function fastifyRefusal(
  code: string,
  { bytes, bytesMax }: BodySize,
): [number, string, string] | undefined {
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return [
        413,
        `The body has ${bytes === undefined ? 'more than' : `${bytes} bytes, more than`} the ${bytesMax} bytes that a request with all its jobs may have here; a job alone may have MAX_JOB_BYTES.`,
        'Store the data elsewhere and enqueue a reference to it, send fewer jobs in one request, or raise MAX_JOB_BYTES.',
      ];
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return [415, 'The body is not JSON.', 'Send JSON with "Content-Type: application/json".'];
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return [400, 'The body is empty.', 'Send { "data": … } or { "jobs": [ … ] }.'];
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      // Fastify does not tell the two apart.
      return [
        400,
        'The body is not valid JSON, or has a key "__proto__" or "constructor" with which data could poison objects.',
        'Send { "data": … } or { "jobs": [ … ] }, without such a key.',
      ];
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return [400, 'The body is not valid JSON.', 'Send { "data": … } or { "jobs": [ … ] }.'];
    case 'FST_ERR_HANDLER_TIMEOUT':
      return [
        503,
        'The request took longer than it may.',
        'Try again; with an Idempotency-Key nothing is done twice.',
      ];
    default:
      return undefined;
  }
}

/** Translates whatever was thrown while serving `path`. */
export function toProblem(error: unknown, path: string, body: BodySize): ProblemAnswer {
  if (error instanceof HoldfastError) {
    const kind = kindOf(error);
    if (kind !== undefined) return ofHoldfast(error, kind, path);
  }
  const fault = (error ?? {}) as { code?: unknown; statusCode?: unknown; message?: unknown };
  const code = typeof fault.code === 'string' ? fault.code : '';
  const refusal = fastifyRefusal(code, body);
  if (refusal !== undefined) {
    const [status, what, remedy] = refusal;
    const ourCode = status === 413 ? 'HOLDFAST_JOB_TOO_LARGE' : 'HOLDFAST_INPUT_INVALID';
    const refused = answer(
      status,
      status === 503 ? 'HOLDFAST_SERVICE_BUSY' : ourCode,
      what,
      remedy,
      path,
    );
    if (status === 413) Object.assign(refused.problem, body);
    return refused;
  }
  if (error instanceof SyntaxError) {
    // secure-json-parse: not JSON, or a key such as `__proto__` that would poison an object.
    return answer(
      400,
      'HOLDFAST_INPUT_INVALID',
      `The body is not usable JSON: ${error.message}.`,
      'Send { "data": … } or { "jobs": [ … ] }.',
      path,
    );
  }
  if (typeof fault.statusCode === 'number' && fault.statusCode >= 400 && fault.statusCode < 500) {
    const said = typeof fault.message === 'string' ? fault.message : 'The request was refused';
    const what = said.endsWith('.') ? said : `${said}.`;
    return answer(fault.statusCode, 'HOLDFAST_INPUT_INVALID', what, 'Correct the request.', path);
  }
  return {
    ...answer(
      500,
      'HOLDFAST_INTERNAL',
      'The service failed to serve the request.',
      'Its log has the reason; look for the event http.failed.',
      path,
    ),
    isOurs: true,
  };
}

function kindOf(error: HoldfastError): Kind | undefined {
  if (error instanceof AccessDeniedError) {
    return error.kind === 'unauthenticated'
      ? { status: 401, title: 'Token required' }
      : { status: 403, title: 'Refused' };
  }
  if (error instanceof DocumentUnavailableError) {
    // A completed job will never have one; another one may, after a while or a retry.
    return { status: error.data.state === 'completed' ? 404 : 409, title: 'No document' };
  }
  return KINDS[error.code];
}

function ofHoldfast(error: HoldfastError, kind: Kind, path: string): ProblemAnswer {
  const headers: Record<string, string> = {};
  if (kind.retryAfter) headers['retry-after'] = String(RETRY_AFTER_SECONDS);
  if (kind.status === 429) headers['retry-after'] = String(error.data.retryAfterSeconds);
  if (kind.status === 401) headers['www-authenticate'] = 'Bearer realm="holdfast"';
  const { field } = error.data;
  return {
    problem: {
      ...withoutPaths(error.data),
      type: TYPE_PREFIX + error.code,
      title: kind.title,
      status: kind.status,
      detail: withoutPath(error),
      code: error.code,
      remedy: error.remedy,
      instance: path,
      ...(typeof field === 'string' && field !== '' ? { field } : {}),
    },
    headers,
    isOurs: false,
  };
}

function answer(
  status: number,
  code: string,
  what: string,
  remedy: string,
  path: string,
): ProblemAnswer {
  return {
    problem: {
      type: TYPE_PREFIX + code,
      title: status >= 500 ? 'Not served' : 'Invalid request',
      status,
      detail: `${what} ${remedy}`,
      code,
      remedy,
      instance: path,
    },
    headers: status === 503 ? { 'retry-after': String(RETRY_AFTER_SECONDS) } : {},
    isOurs: false,
  };
}

function withoutPath({ message, data }: HoldfastError): string {
  return typeof data.path === 'string' ? message.replaceAll(` at ${data.path}`, '') : message;
}

/** A caller needs limits and names, not where files lie on the server. */
function withoutPaths(data: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { path: _path, field: _field, ...rest } = data;
  return rest;
}
