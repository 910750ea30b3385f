/**
 * Reads `config/schedules.json`: jobs that are added again and again. All mistakes are told at once,
 * each with the place in the file. Pure but for the reading.
 *
 * The file is an array of schedules, or `{ "owner", "revision", "schedules": [ … ] }`.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultRepeatStrategy, type JobSchedulerTemplateOptions, PRIORITY_LIMIT } from 'bullmq';
import { z } from 'zod';
import { ConfigError, type ConfigProblem } from '../errors.ts';
import { payloadBytes } from './payload.ts';
import { queueNameMistake } from './queue-name.ts';

export interface Schedule {
  id: string;
  queue: string;
  /** The name of the jobs; default: the id. */
  name: string;
  cron: string | undefined;
  /** IANA name, e.g. `Europe/Berlin`; default: that of the machine. */
  timezone: string | undefined;
  everyMs: number | undefined;
  data: unknown;
  options: JobSchedulerTemplateOptions;
}

export interface ScheduleFile {
  /** Marks our schedulers in Redis; two services on one queue need two. */
  owner: string;
  /** The higher one wins; 0 when the file says none, then the newest content wins. */
  revision: number;
  /** Stands for the content. */
  hash: string;
  schedules: readonly Schedule[];
}

export const SCHEDULE_FILE = 'schedules.json';
export const DEFAULT_OWNER = 'holdfast';

/** Shorter than this is a loop, not a schedule, ms. */
const EVERY_MS_MIN = 100;
const EVERY_MS_MAX = 366 * 24 * 60 * 60 * 1000;

const name = (max: number) =>
  z
    .string()
    .regex(
      new RegExp(`^[\\w.-]{1,${max}}$`),
      `must be 1 to ${max} letters, digits, "-", "_" or "."`,
    );
const keep = z.union([
  z.boolean(),
  z.int().min(0),
  z.strictObject({ age: z.int().min(0).optional(), count: z.int().min(0).optional() }),
]);
const optionsSchema = z.strictObject({
  attempts: z.int().min(1).max(1000).optional(),
  backoff: z
    .union([
      z.int().min(0),
      z.strictObject({
        type: z.enum(['fixed', 'exponential']),
        delay: z.int().min(0).optional(),
        jitter: z.number().min(0).max(1).optional(),
      }),
    ])
    .optional(),
  priority: z.int().min(0).max(PRIORITY_LIMIT).optional(),
  lifo: z.boolean().optional(),
  removeOnComplete: keep.optional(),
  removeOnFail: keep.optional(),
  keepLogs: z.int().min(0).optional(),
  stackTraceLimit: z.int().min(0).optional(),
});

const scheduleSchema = z
  .strictObject({
    id: name(100),
    queue: z.string().superRefine((value, context) => {
      const mistake = queueNameMistake(value);
      if (mistake !== undefined) context.addIssue({ code: 'custom', message: mistake });
    }),
    name: z.string().min(1).max(256).optional(),
    cron: z.string().optional(),
    timezone: z.string().optional(),
    every: z.int().min(EVERY_MS_MIN).max(EVERY_MS_MAX).optional(),
    data: z.unknown().optional(),
    options: optionsSchema.optional(),
  })
  .superRefine(({ cron, timezone, every }, context) => {
    const issue = (option: string, message: string) =>
      context.addIssue({ code: 'custom', path: [option], message });
    if (cron === undefined && every === undefined) issue('cron', 'is missing, as is "every"');
    if (cron !== undefined && every !== undefined) issue('every', 'stands beside "cron"');
    if (timezone !== undefined) {
      if (cron === undefined) issue('timezone', 'is only for "cron"');
      if (!isTimezone(timezone)) {
        issue('timezone', 'is not an IANA time zone such as "Europe/Berlin"');
        return;
      }
    }
    const mistake = cron === undefined ? undefined : cronMistake(cron, timezone);
    if (mistake !== undefined) issue('cron', mistake);
  });

const fileSchema = z.union([
  z.array(scheduleSchema),
  z.strictObject({
    owner: name(64).optional(),
    revision: z.int().min(1).optional(),
    schedules: z.array(scheduleSchema),
  }),
]);

/** The schedules of a configuration folder; none when there is no file. @throws ConfigError */
export async function loadSchedules(configDir: string, jobBytesMax: number): Promise<ScheduleFile> {
  const path = join(configDir, SCHEDULE_FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return parseSchedules('[]', path, jobBytesMax);
    throw new ConfigError([
      { where: path, value: 'the file', allowed: `it cannot be read (${code})` },
    ]);
  }
  return parseSchedules(text, path, jobBytesMax);
}

/** @throws ConfigError with all mistakes, each with its place: `config/schedules.json:$[2].cron` */
export function parseSchedules(text: string, path: string, jobBytesMax: number): ScheduleFile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ConfigError([
      { where: path, value: 'the file', allowed: `it is not JSON: ${(error as Error).message}` },
    ]);
  }
  // Each form has its own schema: a union would only say that neither fits.
  const form = fileSchema.options[Array.isArray(json) ? 0 : 1];
  const parsed = form.safeParse(json);
  if (!parsed.success) {
    throw new ConfigError(parsed.error.issues.map((issue) => problemOf(issue, json, path)));
  }
  const file = Array.isArray(parsed.data) ? { schedules: parsed.data } : parsed.data;
  const base = Array.isArray(json) ? '$' : '$.schedules';
  const schedules = file.schedules.map(
    (entry): Schedule => ({
      id: entry.id,
      queue: entry.queue,
      name: entry.name ?? entry.id,
      cron: entry.cron,
      timezone: entry.timezone,
      everyMs: entry.every,
      data: entry.data ?? {},
      options: (entry.options ?? {}) as JobSchedulerTemplateOptions,
    }),
  );
  const problems = [
    ...doubleProblems(schedules, `${path}:${base}`),
    ...payloadProblems(schedules, `${path}:${base}`, jobBytesMax),
  ];
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    owner: ('owner' in file && file.owner) || DEFAULT_OWNER,
    revision: ('revision' in file && file.revision) || 0,
    hash: hashOf(schedules),
    schedules,
  };
}

/** Short enough to be kept in lists; 64 bits do not collide among the revisions of a file. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

function isTimezone(timezone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: timezone });
    return true;
  } catch {
    return false;
  }
}

/** Asks the very function by which BullMQ will find the next time. */
function cronMistake(cron: string, timezone: string | undefined): string | undefined {
  if (cron.trim().split(/\s+/).length < 5 && !cron.startsWith('@')) {
    return 'needs five fields: minute, hour, day of month, month, day of week';
  }
  try {
    const options = { pattern: cron, ...(timezone === undefined ? {} : { tz: timezone }) };
    const next = defaultRepeatStrategy(Date.now(), options);
    return next === undefined ? 'never comes' : undefined;
  } catch (error) {
    return `is not a cron expression (${(error as Error).message})`;
  }
}

function doubleProblems(schedules: readonly Schedule[], base: string): ConfigProblem[] {
  const seen = new Set<string>();
  return schedules.flatMap(({ id, queue }, i) => {
    const key = `${queue} ${id}`;
    if (!seen.has(key)) {
      seen.add(key);
      return [];
    }
    return [
      {
        where: `${base}[${i}].id`,
        value: `"${id}"`,
        allowed: `queue "${queue}" has this id already`,
      },
    ];
  });
}

function payloadProblems(
  schedules: readonly Schedule[],
  base: string,
  bytesMax: number,
): ConfigProblem[] {
  return schedules.flatMap(({ queue, data }, i) => {
    try {
      payloadBytes(queue, data, bytesMax);
      return [];
    } catch (error) {
      return [
        { where: `${base}[${i}].data`, value: 'the data', allowed: (error as Error).message },
      ];
    }
  });
}

function problemOf(issue: z.core.$ZodIssue, json: unknown, path: string): ConfigProblem {
  const keys = issue.code === 'unrecognized_keys' ? issue.keys : [];
  const place = [...issue.path, ...keys.slice(0, 1)];
  const where = place.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part}]` : `${text}.${String(part)}`),
    `${path}:$`,
  );
  const value = place.reduce<unknown>(
    (inner, part) => (inner as Record<PropertyKey, unknown> | undefined)?.[part],
    json,
  );
  return {
    where,
    value: value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 100),
    allowed:
      issue.code === 'unrecognized_keys'
        ? 'this is not a field here'
        : issue.message.replace(/^Invalid input: /, ''),
  };
}
