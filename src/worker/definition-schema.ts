/**
 * What a definition may say, checked before anything starts: an option that cannot work is named with
 * what is allowed instead. Pure: knows nothing of files.
 */
import { distance } from 'fastest-levenshtein';
import { z } from 'zod';
import { HandlerFileError, HandlerFilesError } from '../errors.ts';
import { queueNameMistake } from '../queue/queue-name.ts';

export interface DefinitionProblem {
  /** The option, e.g. `limiter.max`; empty for the definition as a whole. */
  option: string;
  /** What is wrong, as the end of a sentence that begins with the option. */
  what: string;
  remedy: string;
}

/** One process cannot run more at a time; a larger number is a slip of the keyboard. */
const CONCURRENCY_MAX = 10_000;
const ATTEMPTS_MAX = 1000;
/** Longest delay of a Node timer, ms: beyond it a timer fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** A longer value is left out of a message. */
const VALUE_CHARS_MAX = 60;
/** Further apart than this and a suggestion only confuses. */
const SUGGESTION_EDITS_MAX = 3;

const ms = (min: number) =>
  z.int(`must be a whole number of milliseconds from ${min}`).min(min).max(TIMER_MS_MAX);
const count = (min: number, max: number) =>
  z.int(`must be a whole number from ${min} to ${max}`).min(min).max(max);
const callable = z.custom<(...args: never[]) => unknown>(
  (value) => typeof value === 'function',
  'must be a function',
);
const retention = z.strictObject({
  age: z.number('must be seconds').min(0).optional(),
  count: count(0, Number.MAX_SAFE_INTEGER).optional(),
});
const standardSchema = z.custom(
  (value) =>
    (typeof value === 'object' || typeof value === 'function') &&
    value !== null &&
    typeof (value as { '~standard'?: { validate?: unknown } })['~standard']?.validate ===
      'function',
  'must be a Standard Schema (zod, valibot, arktype …)',
);

const definitionSchema = z
  .strictObject({
    queue: z.unknown().superRefine((value, context) => {
      const mistake = value === undefined ? 'is missing' : queueNameMistake(value);
      if (mistake !== undefined) context.addIssue({ code: 'custom', message: mistake });
    }),
    handler: callable.optional(),
    handlers: z.record(z.string().min(1), callable).optional(),
    concurrency: count(1, CONCURRENCY_MAX).optional(),
    schema: standardSchema.optional(),
    timeout: ms(1).optional(),
    attempts: count(1, ATTEMPTS_MAX).optional(),
    backoff: z
      .union(
        [
          ms(0),
          z.strictObject({
            type: z.enum(['fixed', 'exponential']),
            delay: ms(0).optional(),
            jitter: z.number().min(0).max(1).optional(),
          }),
        ],
        'must be milliseconds, or { type: "fixed" | "exponential", delay, jitter? }',
      )
      .optional(),
    limiter: z.strictObject({ max: count(1, Number.MAX_SAFE_INTEGER), duration: ms(1) }).optional(),
    breaker: z.strictObject({ failures: count(1, 1_000_000), openFor: ms(1) }).optional(),
    retention: z
      .strictObject({ completed: retention.optional(), failed: retention.optional() })
      .optional(),
    unknownJobGrace: ms(0).optional(),
    onLeaseLost: z.enum(['continue', 'abort'], 'must be "continue" or "abort"').optional(),
    island: z.boolean('must be true or false').optional(),
    setup: callable.optional(),
    teardown: callable.optional(),
  })
  .superRefine((value, context) => {
    const issue = (option: string, message: string) =>
      context.addIssue({ code: 'custom', path: [option], message });
    if (value.handler && value.handlers) issue('handlers', 'stands beside "handler"');
    if (!value.handler && !value.handlers) issue('handler', 'is missing');
    if (value.handlers && Object.keys(value.handlers).length === 0) {
      issue('handlers', 'names no job');
    }
    if (value.island && value.limiter) issue('island', 'cannot keep the "limiter"');
    if (value.teardown && !value.setup) issue('teardown', 'has no "setup" to undo');
  });

const OPTIONS = Object.keys(definitionSchema.shape);

/** All that is wrong with what a file exports; empty when it is a definition. */
export function problemsOf(value: unknown): DefinitionProblem[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return [
      {
        option: '',
        what: `the default export is ${Array.isArray(value) ? 'an array' : `a ${typeof value}`}, not a worker`,
        remedy: 'Export one with `export default defineWorker({ queue, handler })`.',
      },
    ];
  }
  const parsed = definitionSchema.safeParse(value);
  return parsed.success
    ? []
    : parsed.error.issues.flatMap((issue) => problemsOfIssue(issue, value));
}

/** For definitions that come from code, not from a file. @throws HandlerFileError, HandlerFilesError */
export function assertDefinitions(definitions: readonly unknown[]): void {
  const queues = new Set<unknown>();
  const errors = definitions.flatMap((definition, i) => {
    const problems = problemsOf(definition);
    const { queue } = (definition ?? {}) as { queue?: unknown };
    if (problems.length === 0 && queues.has(queue)) {
      problems.push({ option: 'queue', what: 'has another worker already', remedy: ONE_WORKER });
    }
    queues.add(queue);
    return problems.map(
      ({ option, what, remedy }) =>
        new HandlerFileError(
          `worker ${i + 1} (queue ${JSON.stringify(queue) ?? 'missing'})`,
          option === '' ? `${what}.` : `"${option}" ${what}.`,
          remedy,
        ),
    );
  });
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new HandlerFilesError(errors);
}

const ONE_WORKER = 'Put both into one worker with `handlers: { [jobName]: … }`.';

function problemsOfIssue(issue: z.core.$ZodIssue, definition: object): DefinitionProblem[] {
  const option = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      option: option === '' ? key : `${option}.${key}`,
      what: 'is not an option',
      remedy: remedyForUnknown(key, option === '' ? OPTIONS : []),
    }));
  }
  const what = `${issue.message}${shownAt(definition, issue.path)}`;
  return [{ option, what, remedy: remedies[option] ?? `Correct "${option}".` }];
}

/** The value that was given, where it can be shown in a few characters. */
function shownAt(definition: object, path: readonly PropertyKey[]): string {
  let value: unknown = definition;
  for (const key of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  const isPlain = ['string', 'number', 'boolean', 'bigint'].includes(typeof value);
  if (!isPlain && value !== null) return '';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > VALUE_CHARS_MAX ? '' : `, but is ${text}`;
}

const remedies: Readonly<Record<string, string>> = {
  queue: 'Name the BullMQ queue: letters, digits, "-", "_", "." or "/".',
  handler: 'Add `handler(job, ctx) { … }`, or `handlers: { [jobName]: … }`.',
  handlers: 'Keep either "handler" for all jobs or "handlers" by job name.',
  island: 'Remove `island` or `limiter`: without Redis no replica knows how many jobs others run.',
  teardown: 'Add `setup()`, or remove `teardown`.',
};

function remedyForUnknown(key: string, known: readonly string[]): string {
  const [best] = known
    .map((name) => ({ name, edits: distance(key.toLowerCase(), name.toLowerCase()) }))
    .filter(({ edits }) => edits <= SUGGESTION_EDITS_MAX)
    .sort((a, b) => a.edits - b.edits);
  return best ? `Did you mean "${best.name}"?` : 'Remove it.';
}
