/** `holdfast failed`: which jobs of a queue failed for good, why, and when. Only looks. */
import type { Job, Queue } from 'bullmq';
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { EXIT } from './exit-codes.ts';
import { many, when } from './moments.ts';
import { onQueue } from './on-queue.ts';
import type { RedisLink } from './redis-link.ts';
import { type ConfigSource, exitsAsDocumented, run, wholeNumber } from './run.ts';
import { table } from './table.ts';
import { plainLine, print, styled } from './terminal.ts';

const LIMIT_DEFAULT = 20;
/** Jobs of one read: each may carry a megabyte of data. */
const PAGE = 50;

interface FailedJob {
  id: string;
  name: string;
  attemptsMade: number;
  /** What the job itself asks for; null: the handler's default. */
  attempts: number | null;
  /** ISO 8601; null when it is not known. */
  failedAt: string | null;
  reason: string;
  stack: string[];
}

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('failed')
      .description('list failed jobs: reason, attempts, when')
      .argument('<queue>', 'the queue to look at')
      .option('--limit <n>', 'jobs at most', wholeNumber, LIMIT_DEFAULT)
      .option('--json', 'print JSON: total and jobs with their stacks')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast failed email
  $ holdfast failed email --limit 100 --json | jq -r '.jobs[].reason' | sort | uniq -c

Exit codes: 0 done, also when none has failed · 2 no such queue · 69 Redis is away`,
      )
      .action((queue: string, options: { limit: number; json?: boolean }) =>
        run(source, (config) => failed(config, queue, options)),
      ),
  );
}

async function failed(
  config: Config,
  name: string,
  { limit, json }: { limit: number; json?: boolean },
): Promise<number> {
  return await onQueue(config, name, async ({ link, queue, counts }) => {
    const total = counts.failed ?? 0;
    const jobs = await read(link, queue, Math.min(limit, total));
    if (json) print(JSON.stringify({ queue: name, total, jobs }, null, 2));
    else print(draw(name, total, jobs));
    return EXIT.done;
  });
}

async function read(link: RedisLink, queue: Queue, count: number): Promise<FailedJob[]> {
  const jobs: FailedJob[] = [];
  for (let from = 0; from < count; from += PAGE) {
    const to = Math.min(from + PAGE, count) - 1;
    const page = await link.call(queue.getJobs(['failed'], from, to, false), 'reading failed jobs');
    // A job that was removed between the list and the read is not there.
    jobs.push(...page.filter((job) => job !== undefined && job !== null).map(told));
  }
  return jobs;
}

function told(job: Job): FailedJob {
  return {
    id: job.id ?? '',
    name: job.name,
    attemptsMade: job.attemptsMade,
    attempts: job.opts.attempts || null,
    failedAt: job.finishedOn === undefined ? null : new Date(job.finishedOn).toISOString(),
    reason: job.failedReason ?? '',
    stack: job.stacktrace ?? [],
  };
}

function draw(name: string, total: number, jobs: readonly FailedJob[]): string {
  if (jobs.length === 0) return `No job of ${name} has failed.`;
  const rows = jobs.map((job) => [
    plainLine(job.id),
    plainLine(job.name),
    job.attempts === null ? `${job.attemptsMade}` : `${job.attemptsMade} of ${job.attempts}`,
    job.failedAt === null ? '–' : when(Date.parse(job.failedAt)),
    plainLine(job.reason),
  ]);
  const more = total > jobs.length ? `${many(total, 'failed job')}; --limit shows more. ` : '';
  const next = `${more}To run them again: holdfast retry ${name} --all, or --id <id>`;
  return [
    table([['id', 'name', 'attempts', 'failed', 'reason'], ...rows]),
    '',
    styled('dim', next, process.stdout),
  ].join('\n');
}
