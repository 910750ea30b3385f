/**
 * `holdfast retry`: failed jobs wait again and get one more attempt. Many go in batches, so that Redis
 * serves others in between; jobs that fail while it runs are left alone.
 */
import type { Queue } from 'bullmq';
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { InvalidInputError } from '../errors.ts';
import { EXIT } from './exit-codes.ts';
import { many } from './moments.ts';
import { onQueue, type QueueHandle } from './on-queue.ts';
import { progress } from './progress.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';
import { note, plainLine, print } from './terminal.ts';

/** Redis serves nobody else while it moves a batch: some 10 ms. */
const BATCH = 500;
/** Failed whenever: clocks of hosts differ, ms. */
const EVER = Number.MAX_SAFE_INTEGER;

interface RetryOptions {
  all?: boolean;
  id?: string[];
  json?: boolean;
}

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('retry')
      .description('run failed jobs again')
      .argument('<queue>', 'the queue')
      .option('--all', 'all that have failed until now')
      .option('--id <id...>', 'only these jobs')
      .option('--json', 'print JSON: queue, retried, refused')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast failed email
  $ holdfast retry email --id 0198c2f1-7a40 welcome-a
  $ holdfast retry email --all

Each job gets one more attempt. What fails again while this runs is not retried a second time.
Exit codes: 0 done · 2 no such queue, or a job that is not there or has not failed · 69 Redis is away
(what was moved before stays moved; run it again)`,
      )
      .action((queue: string, options: RetryOptions) =>
        run(source, (config) => retry(config, queue, options)),
      ),
  );
}

async function retry(config: Config, name: string, options: RetryOptions): Promise<number> {
  const { all = false, id: ids = [], json } = options;
  if (all === ids.length > 0) {
    throw new InvalidInputError(
      all ? '--all and --id' : 'retry',
      all ? 'exclude each other' : 'does not know which jobs',
      `Say --all or --id <id>; \`holdfast failed ${name}\` lists them.`,
    );
  }
  return await onQueue(config, name, async (handle) => {
    const { retried, refused } = all ? await retryAll(handle) : await retryEach(handle, ids);
    if (json) print(JSON.stringify({ queue: name, retried, refused }, null, 2));
    else {
      for (const { id, reason } of refused) note(`${plainLine(id)}: ${reason}`);
      print(`${many(retried, 'failed job')} of ${name} ${retried === 1 ? 'waits' : 'wait'} again.`);
    }
    return refused.length > 0 ? EXIT.usage : EXIT.done;
  });
}

interface Retried {
  retried: number;
  refused: { id: string; reason: string }[];
}

async function retryAll({ link, queue, counts }: QueueHandle): Promise<Retried> {
  const total = counts.failed ?? 0;
  const shown = progress('retried', total);
  let retried = 0;
  try {
    // BullMQ's retryJobs() is this loop, without a bound and without a way to see how far it is. The
    // oldest go first, so what fails again meanwhile is not among the first `total`.
    while (retried < total) {
      const count = Math.min(BATCH, total - retried);
      const moving = queue.getBackend().retryFinishedJobs('failed', count, EVER);
      const isMore = await link.call(moving, `retrying (${many(retried, 'job')} done)`);
      retried += count;
      shown.done(retried);
      if (isMore === 0) break;
    }
  } finally {
    shown.stop();
  }
  return { retried, refused: [] };
}

async function retryEach({ link, queue }: QueueHandle, ids: readonly string[]): Promise<Retried> {
  const refused: Retried['refused'] = [];
  for (const id of ids) {
    const reason = await link.call(retryOne(queue, id), `retrying job ${id}`);
    if (reason !== undefined) refused.push({ id, reason });
  }
  return { retried: ids.length - refused.length, refused };
}

/** Why the job cannot be retried; undefined when it is. */
async function retryOne(queue: Queue, id: string): Promise<string | undefined> {
  const job = await queue.getJob(id);
  if (job === undefined) return 'there is no such job; it may have been removed by its retention';
  const state = await job.getState();
  if (state !== 'failed') return `it has not failed, it is ${state}`;
  await job.retry('failed');
  return undefined;
}
