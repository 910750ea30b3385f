/** `holdfast schedules`: the job schedulers of all queues, and when each runs next. Only looks. */
import type { JobSchedulerJson } from 'bullmq';
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { EXIT } from './exit-codes.ts';
import { span, when } from './moments.ts';
import { onQueue, onRedis } from './on-queue.ts';
import type { RedisLink } from './redis-link.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';
import { table } from './table.ts';
import { note, plainLine, print } from './terminal.ts';

/** Schedules of one queue that are listed. */
const PER_QUEUE_MAX = 1000;

interface Schedule {
  queue: string;
  id: string;
  jobName: string;
  cron: string | undefined;
  timezone: string | undefined;
  everyMs: number | undefined;
  /** ISO 8601 */
  next: string | undefined;
  runs: number | undefined;
}

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('schedules')
      .description('list schedules and when each runs next')
      .argument('[queue]', 'only those of this queue')
      .option('--json', 'print JSON')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast schedules
  $ holdfast schedules report --json

Those of config/schedules.json have ids that begin with the file's owner; others are shown as well.
Exit codes: 0 done, also when there are none · 2 no such queue · 69 Redis is away`,
      )
      .action((queue: string | undefined, options: { json?: boolean }) =>
        run(source, (config) => schedules(config, queue, options)),
      ),
  );
}

async function schedules(
  config: Config,
  only: string | undefined,
  { json }: { json?: boolean },
): Promise<number> {
  const found =
    only === undefined
      ? await onRedis(config, ofAllQueues)
      : await onQueue(config, only, ({ link }) => ofQueues(link, [only]));
  if (json) print(JSON.stringify({ schedules: found }, null, 2));
  else if (found.length === 0) print('No schedules. They are written in config/schedules.json.');
  else print(draw(found));
  return EXIT.done;
}

async function ofAllQueues(link: RedisLink): Promise<Schedule[]> {
  const names = await link.queueNames();
  if (link.unlisted !== undefined) note(`There may be more queues: ${link.unlisted}.`);
  return await ofQueues(link, names);
}

async function ofQueues(link: RedisLink, queues: readonly string[]): Promise<Schedule[]> {
  const found: Schedule[] = [];
  for (const queue of queues) {
    const reading = link.queue(queue).getJobSchedulers(0, PER_QUEUE_MAX - 1, true);
    const list = await link.call(reading, 'reading the schedules');
    found.push(...list.filter(Boolean).map((scheduler) => told(queue, scheduler)));
  }
  return found;
}

function told(queue: string, scheduler: JobSchedulerJson): Schedule {
  const { key, name, pattern, tz, every, next, iterationCount } = scheduler;
  return {
    queue,
    id: key,
    jobName: name,
    cron: pattern,
    timezone: tz,
    everyMs: every === undefined ? undefined : Number(every),
    next: next === undefined ? undefined : new Date(next).toISOString(),
    runs: iterationCount,
  };
}

function draw(found: readonly Schedule[]): string {
  const rows = found.map(({ queue, id, jobName, cron, timezone, everyMs, next }) => [
    queue,
    plainLine(id),
    everyMs === undefined
      ? `${plainLine(cron ?? '–')}${timezone === undefined ? '' : ` (${timezone})`}`
      : `every ${span(everyMs)}`,
    next === undefined ? '–' : when(Date.parse(next)),
    plainLine(jobName),
  ]);
  return table([['queue', 'schedule', 'runs', 'next', 'job'], ...rows]);
}
