/**
 * What a producer sends, checked before anything is stored: names, options, size and depth, each
 * mistake named by its field. Shared by HTTP and the command line, so that both refuse alike.
 * Options are BullMQ's; those that only BullMQ itself may set are refused, not dropped in silence.
 */
import { createHash } from 'node:crypto';
import { type JobsOptions, PRIORITY_LIMIT } from 'bullmq';
import { z } from 'zod';
import { InvalidInputError } from '../errors.ts';
import { payloadBytes } from '../queue/payload.ts';
import { isKeyOfQueue } from '../queue/queue-keys.ts';
import { nearestName } from './queue-names.ts';

export interface JobInput {
  name: string;
  data: unknown;
  options: JobsOptions;
}

/** Jobs in one request: about what BullMQ writes to Redis in one pipeline without a pause. */
export const BATCH_JOBS_MAX = 1000;

const NAME_CHARS_MAX = 256;
const ID_CHARS_MAX = 256;
const IDEMPOTENCY_KEY_CHARS_MAX = 255;
/** A year; beyond it a delay is a date in the wrong unit. */
const DELAY_MS_MAX = 366 * 24 * 60 * 60 * 1000;
const ATTEMPTS_MAX = 1000;

const delayMs = z.int().min(0).max(DELAY_MS_MAX);
const keep = z.union([
  z.boolean(),
  z.int().min(0),
  z.strictObject({
    age: z.int().min(0).optional(),
    count: z.int().min(0).optional(),
    limit: z.int().min(1).optional(),
  }),
]);

const jobId = z
  .string()
  .min(1)
  .max(ID_CHARS_MAX)
  .refine(
    (id) => !/^-?\d+$/.test(id),
    'may not be a whole number: those are the ids that BullMQ gives',
  )
  .refine(
    (id) => !id.includes(':'),
    'may not contain ":", which BullMQ uses between parts of a key',
  )
  .refine((id) => !/[\p{Cc}\p{Cs}]/u.test(id), 'may not contain control characters')
  .refine((id) => !isKeyOfQueue(id), {
    error: ({ input }) => `may not be "${input}", the name of a key that queues have in Redis`,
  });

const optionsSchema = z.strictObject({
  jobId: jobId.optional(),
  delay: delayMs.optional(),
  priority: z.int().min(0).max(PRIORITY_LIMIT).optional(),
  attempts: z.int().min(1).max(ATTEMPTS_MAX).optional(),
  backoff: z
    .union([
      delayMs,
      z.strictObject({
        type: z.string().min(1).max(64),
        delay: delayMs.optional(),
        jitter: z.number().min(0).max(1).optional(),
      }),
    ])
    .optional(),
  lifo: z.boolean().optional(),
  timestamp: z.int().min(0).optional(),
  removeOnComplete: keep.optional(),
  removeOnFail: keep.optional(),
  keepLogs: z.int().min(0).max(10_000).optional(),
  stackTraceLimit: z.int().min(0).max(100).optional(),
  sizeLimit: z.int().min(0).optional(),
  deduplication: z
    .strictObject({
      id: z.string().min(1).max(ID_CHARS_MAX),
      ttl: delayMs.optional(),
      extend: z.boolean().optional(),
      replace: z.boolean().optional(),
      reschedule: z.boolean().optional(),
      keepLastIfActive: z.boolean().optional(),
    })
    .optional(),
});

const jobSchema = z.strictObject({
  name: z.string().min(1).max(NAME_CHARS_MAX).optional(),
  data: z.unknown().optional(),
  options: optionsSchema.optional(),
});

const JOB_FIELDS = Object.keys(jobSchema.shape);
const OPTION_FIELDS = Object.keys(optionsSchema.shape);

/** Why an option of BullMQ's is not among those that a producer may set here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  repeat: 'Schedules stand in config/schedules.json.',
  repeatJobKey: 'Schedules stand in config/schedules.json.',
  prevMillis: 'BullMQ sets it itself.',
  parent: 'Use the queue "steps" for jobs that depend on each other.',
  telemetry: 'The service sets it itself.',
};

/** Reads the body of a request: one job, or `{ jobs: [...] }`. */
export function readBody(
  queue: string,
  body: unknown,
  bytesMax: number,
): { isBatch: boolean; jobs: JobInput[] } {
  if (!isRecord(body)) {
    throw new InvalidInputError(
      '',
      `is ${describe(body)}, not an object`,
      'Send { "data": … } or { "jobs": [ … ] }.',
    );
  }
  if (!('jobs' in body)) return { isBatch: false, jobs: [readJob(queue, body, '', bytesMax)] };
  const { jobs, ...others } = body;
  const [stray] = Object.keys(others);
  if (stray !== undefined) {
    throw new InvalidInputError(
      stray,
      'stands beside "jobs"',
      'Put name, data and options into each job of the batch.',
    );
  }
  if (!Array.isArray(jobs) || jobs.length === 0 || jobs.length > BATCH_JOBS_MAX) {
    throw new InvalidInputError(
      'jobs',
      Array.isArray(jobs) ? `has ${jobs.length} entries` : `is ${describe(jobs)}`,
      `Send an array of 1 to ${BATCH_JOBS_MAX} jobs.`,
    );
  }
  return {
    isBatch: true,
    jobs: jobs.map((job, index) => readJob(queue, job, `jobs[${index}]`, bytesMax)),
  };
}

/** One job of a request, or of the command line; `at` is where it stands. */
export function readJob(queue: string, job: unknown, at: string, bytesMax: number): JobInput {
  if (!isRecord(job)) {
    throw new InvalidInputError(at, `is ${describe(job)}, not an object`, 'Send { "data": … }.');
  }
  if (!('data' in job)) {
    throw new InvalidInputError(join(at, 'data'), 'is missing', 'Send the job\'s data as "data".');
  }
  const parsed = jobSchema.safeParse(job);
  if (!parsed.success) throw firstIssue(parsed.error, at);
  const { name, data, options } = parsed.data;
  const bytes = payloadBytes(queue, data, bytesMax, join(at, 'data'));
  const { sizeLimit } = options ?? {};
  // BullMQ would refuse it without a word of where it stands; zero is no limit to it.
  if (sizeLimit && bytes > sizeLimit) {
    throw new InvalidInputError(
      join(at, 'options.sizeLimit'),
      `is less than the ${bytes} bytes of the job's data`,
      'Raise it or send less.',
    );
  }
  const infinite = infiniteIn(data);
  if (infinite !== undefined) {
    const field = join(join(at, 'data'), infinite);
    throw new InvalidInputError(field, 'is too large for a number', 'Send it as a string.');
  }
  // BullMQ's own command lines and dashboards show the name: without one, the queue's stands in.
  return { name: name ?? queue, data, options: (options ?? {}) as JobsOptions };
}

/** Where such a number stands below `value`: JavaScript reads 1e999 as infinite, and writes that as null. */
function infiniteIn(value: unknown): string | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : '';
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, part] of Object.entries(value)) {
    const below = infiniteIn(part);
    if (below !== undefined) return join(Array.isArray(value) ? `[${key}]` : key, below);
  }
  return undefined;
}

/** The job id that a key stands for: the same key and queue give the same id, from any replica. */
export function idOfIdempotencyKey(queue: string, key: string, index?: number): string {
  const isPrintable = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(key);
  if (!isPrintable || key.length > IDEMPOTENCY_KEY_CHARS_MAX) {
    throw new InvalidInputError(
      'Idempotency-Key',
      `is not 1 to ${IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters`,
      'Send a UUID, for example.',
    );
  }
  const hash = createHash('sha256').update(JSON.stringify([queue, key, index ?? null]));
  // Hex: safe as a file name everywhere, also where case does not count. 160 bits do not collide.
  return `key-${hash.digest('hex').slice(0, 40)}`;
}

/** One mistake at a time is what a caller can act on; the first in the order of the fields. */
function firstIssue(error: z.ZodError, at: string): InvalidInputError {
  const issue = ofMeantForm(error.issues[0]!);
  const path = join(at, pathOf(issue.path));
  if (issue.code === 'unrecognized_keys') return unknownField(issue.keys[0]!, path, issue.path);
  const deepest = issue.code === 'invalid_union' ? 'is none of the allowed forms' : issue.message;
  return new InvalidInputError(
    path,
    `is not valid: ${deepest.replace(/^Invalid input: /, '')}`,
    issue.path.at(-1) === 'jobId'
      ? 'Choose another id, or leave it out for a new one.'
      : issue.path[0] === 'options'
        ? 'Options are those of BullMQ: numbers are whole, times are in milliseconds.'
        : 'Send { "name"?: string, "data": …, "options"?: { … } }.',
  );
}

/** Of a value with several forms: what is wrong in the one that it has, where it has one. */
function ofMeantForm(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union') return issue;
  const isInside = ({ path, code }: z.core.$ZodIssue): boolean =>
    path.length > 0 || code === 'unrecognized_keys';
  const [first] = issue.errors.find((issues) => issues.every(isInside)) ?? [];
  return first === undefined ? issue : { ...first, path: [...issue.path, ...first.path] };
}

function unknownField(key: string, at: string, path: readonly PropertyKey[]): InvalidInputError {
  const isTop = path.length === 0;
  const isOption = path.length === 1 && path[0] === 'options';
  const allowed = isTop ? JOB_FIELDS : isOption ? OPTION_FIELDS : [];
  const nearest = nearestName(key, allowed);
  const hint = isOption ? ELSEWHERE[key] : undefined;
  const misplaced =
    isTop && OPTION_FIELDS.includes(key) ? `Put it into "options": { "${key}": … }.` : undefined;
  return new InvalidInputError(
    join(at, key),
    'is not a field that a job has here',
    hint ??
      misplaced ??
      (nearest === undefined
        ? `Remove it${allowed.length > 0 ? `; known are ${allowed.join(', ')}` : ''}.`
        : `Did you mean "${nearest}"?`),
  );
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part}]` : join(text, String(part))),
    '',
  );
}

function join(at: string, field: string): string {
  if (at === '' || field === '') return at + field;
  return field.startsWith('[') ? at + field : `${at}.${field}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
