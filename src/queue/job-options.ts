/**
 * Which options a job may have. What Redis or BullMQ's scripts would refuse is refused before the job is
 * kept: in an outage nobody else can say no, and a job that was accepted must run.
 */
import { type JobJson, type JobsOptions, PRIORITY_LIMIT } from 'bullmq';
import { InvalidInputError } from '../errors.ts';
import { isKeyOfQueue } from './queue-keys.ts';

/** Levels of objects in options; BullMQ's own have two. */
const DEPTH_MAX = 20;
const CORRECT = 'Correct it or leave it out.';

/** Numbers that BullMQ's scripts compute with; it takes them as text too. */
const NUMBERS = new Set(['timestamp', 'delay', 'attempts', 'keepLogs', 'stackTraceLimit']);

/** Not BullMQ's, or not a producer's: set in vain, and missed without a word. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  repeat: 'Use upsertJobScheduler of client.queue(name), or config/schedules.json of a service.',
};

/**
 * Options of a Holdfast client's caller. `at` is where they stand in the input.
 * @throws InvalidInputError that names the option
 */
export function checkOptions(options: unknown, at: string): asserts options is JobsOptions {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new InvalidInputError(at, 'is not an object', "Give BullMQ's options, or leave it out.");
  }
  const { jobId, priority, delay, attempts } = options as JobsOptions;
  const refuse = (field: string, what: string, remedy: string): never => {
    throw new InvalidInputError(`${at}.${field}`, what, remedy);
  };
  if (jobId !== undefined) {
    if (typeof jobId !== 'string' || jobId === '') {
      refuse('jobId', 'is not a string of at least one character', 'Leave it out for a new id.');
    }
    if (/^-?\d+$/.test(jobId)) {
      refuse('jobId', 'is a whole number: those are the ids that BullMQ gives', 'Add a letter.');
    }
    if (jobId.includes(':')) {
      refuse('jobId', 'contains ":", which BullMQ uses between parts of a key', 'Use "-" instead.');
    }
  }
  const whole = (field: string, value: unknown, min: number, max: number): void => {
    if (value === undefined) return;
    if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return;
    refuse(field, `is not a whole number from ${min} to ${max}`, CORRECT);
  };
  whole('priority', priority, 0, PRIORITY_LIMIT);
  // Not whole where it was computed: BullMQ takes such a delay.
  if (delay !== undefined && !(Number.isFinite(delay) && delay >= 0)) {
    refuse('delay', 'is not a number of milliseconds from 0', CORRECT);
  }
  whole('attempts', attempts, 0, Number.MAX_SAFE_INTEGER);
  for (const [field, remedy] of Object.entries(ELSEWHERE)) {
    if (field in options) refuse(field, 'is not an option of a job', remedy);
  }
  checkStorable(options as JobsOptions, at);
}

/**
 * A job of a caller of BullMQ's own Queue: all that works with plain BullMQ works.
 * @throws InvalidInputError
 */
export function checkJob(job: JobJson): void {
  if (typeof job.data !== 'string') {
    throw new InvalidInputError(
      'data',
      'is nothing that JSON can hold',
      'Send plain values: numbers, strings, booleans, null, arrays and objects.',
    );
  }
  checkStorable(job.opts, 'opts');
}

/** What BullMQ's scripts would stumble over, the journal would change, or a worker could not settle. */
function checkStorable(options: JobsOptions, at: string): void {
  for (const [field, value] of Object.entries(options)) {
    if (value === undefined || value === null) continue;
    const what = mistakeOf(value, 0) ?? mistakeIn(field, value);
    if (what !== undefined) throw new InvalidInputError(`${at}.${field}`, what, CORRECT);
  }
}

/** What is wrong with an option of this name, as the end of a sentence. */
function mistakeIn(field: string, value: unknown): string | undefined {
  if (NUMBERS.has(field)) return Number.isFinite(Number(value)) ? undefined : 'is not a number';
  if (field === 'jobId') return mistakeInId(`${value}`);
  if (field === 'deduplication') {
    const { id, ttl } = value as { id?: unknown; ttl?: unknown };
    if (!isText(id) && typeof id !== 'number') return 'has no id';
    return ttl === undefined || ttl === null || Number.isSafeInteger(ttl)
      ? undefined
      : 'has a ttl that is not a whole number';
  }
  if (field === 'parent') {
    const { id, queue } = value as { id?: unknown; queue?: unknown };
    return isText(id) && isText(queue) ? undefined : 'does not have an id and a queue';
  }
  if (field === 'removeOnComplete' || field === 'removeOnFail') return mistakeInKeeping(value);
  return undefined;
}

/** A worker that cannot compute with these could never write the job's outcome. */
function mistakeInKeeping(value: unknown): string | undefined {
  if (typeof value !== 'object') return undefined;
  const { age, count, limit } = value as Record<string, unknown>;
  for (const part of [age, count, limit]) {
    if (part !== undefined && part !== null && typeof part !== 'number') {
      return 'has an age, count or limit that is not a number';
    }
  }
  return undefined;
}

/** Values that come out of Redis, and out of the journal, as they went in. */
function mistakeOf(value: unknown, depth: number): string | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : 'is not finite';
  if (typeof value === 'bigint') return 'is a bigint, which JSON cannot hold';
  if (typeof value !== 'object' || value === null) return undefined;
  if (depth > DEPTH_MAX) return `is nested deeper than ${DEPTH_MAX} levels`;
  const kind = Object.prototype.toString.call(value);
  if (kind !== '[object Object]' && kind !== '[object Array]') return 'is not a plain value';
  for (const part of Object.values(value)) {
    const mistake = mistakeOf(part, depth + 1);
    if (mistake !== undefined) return mistake;
  }
  return undefined;
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

/** What is wrong with an id that a caller gives, as the end of a sentence. */
function mistakeInId(id: string): string | undefined {
  if (!id.isWellFormed()) return 'is no valid Unicode text';
  if (isKeyOfQueue(id)) return `is "${id}", the name of a key that queues have in Redis`;
  return undefined;
}
