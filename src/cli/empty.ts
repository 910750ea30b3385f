/**
 * `holdfast empty`: removes jobs of a queue for good, after a question. In batches, so that Redis serves
 * others in between, and only as many as there were when it began: producers go on meanwhile.
 */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type Command, Option } from 'commander';
import type { Config } from '../config.ts';
import { InvalidInputError } from '../errors.ts';
import { EXIT } from './exit-codes.ts';
import { many } from './moments.ts';
import { onQueue, type QueueHandle } from './on-queue.ts';
import { progress } from './progress.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';
import { note, print, styled } from './terminal.ts';

/** Redis serves nobody else while it removes a batch: some 10 ms. */
const BATCH = 500;
const CHOICES = ['waiting', 'delayed', 'completed', 'failed', 'all'] as const;
type Choice = (typeof CHOICES)[number];
/** What BullMQ counts under each. Running jobs are never removed. */
const STATES_OF = {
  waiting: ['waiting', 'prioritized'],
  delayed: ['delayed'],
  completed: ['completed'],
  failed: ['failed'],
  all: ['waiting', 'prioritized', 'delayed', 'completed', 'failed'],
} as const satisfies Record<Choice, readonly string[]>;
type State = (typeof STATES_OF)['all'][number];

interface EmptyOptions {
  state: Choice;
  yes?: boolean;
  json?: boolean;
}

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('empty')
      .description('remove jobs for good; asks first')
      .argument('<queue>', 'the queue to empty')
      .addOption(
        new Option('--state <state>', 'which jobs').choices([...CHOICES]).default('waiting'),
      )
      .option('--yes', 'do not ask')
      .option('--json', 'print JSON: queue, removed by state; needs --yes')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast empty email
  $ holdfast empty email --state failed --yes

Running jobs go on, and so do schedules. Jobs that are added while it runs stay.
Exit codes: 0 done, or you said no · 2 no such queue, or nobody can be asked and there is no --yes ·
69 Redis is away (what was removed before stays removed; run it again)`,
      )
      .action((queue: string, options: EmptyOptions) =>
        run(source, (config) => empty(config, queue, options)),
      ),
  );
}

async function empty(config: Config, name: string, options: EmptyOptions): Promise<number> {
  const canAsk = process.stdin.isTTY === true && !options.json;
  if (!options.yes && !canAsk) {
    throw new InvalidInputError(
      '--yes',
      'is missing, and nobody can be asked here',
      'Add it when the jobs are to be removed for good.',
    );
  }
  return await onQueue(config, name, async (handle) => {
    const states = STATES_OF[options.state];
    const totals = states.map((state) => [state, handle.counts[state] ?? 0] as const);
    const total = totals.reduce((sum, [, count]) => sum + count, 0);
    if (total > 0 && !options.yes) {
      const listed = totals.filter(([, count]) => count > 0);
      const what = listed.map(([state, count]) => many(count, `${state} job`)).join(', ');
      if (!(await agrees(`Remove ${what} of ${name} for good?`))) {
        print('Nothing was removed.');
        return EXIT.done;
      }
    }
    const removed = await remove(handle, totals, total);
    const all = Object.values(removed).reduce((sum, count) => sum + count, 0);
    if (options.json) print(JSON.stringify({ queue: name, removed }, null, 2));
    else if (all === 0)
      print(`${name} has no ${options.state === 'all' ? '' : `${options.state} `}jobs.`);
    else print(`${many(all, 'job')} of ${name} ${all === 1 ? 'is' : 'are'} removed.`);
    return EXIT.done;
  });
}

async function remove(
  { link, queue }: QueueHandle,
  totals: readonly (readonly [State, number])[],
  total: number,
): Promise<Record<string, number>> {
  const shown = progress('removed', total);
  const removed: Record<string, number> = {};
  let done = 0;
  try {
    for (const [state, count] of totals) {
      let here = 0;
      while (here < count) {
        const limit = Math.min(BATCH, count - here);
        const cleaning = queue.clean(0, limit, state === 'waiting' ? 'wait' : state);
        const ids = await link.call(cleaning, `emptying (${many(done, 'job')} removed)`);
        here += ids.length;
        done += ids.length;
        shown.done(done);
        // The rest is not removed: taken by a worker meanwhile, or kept for its schedule.
        if (ids.length < limit) break;
      }
      removed[state] = here;
    }
  } finally {
    shown.stop();
  }
  return removed;
}

/** Asks on stderr; everything but a yes is a no, also the end of the input and Ctrl-C. */
async function agrees(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    lines.setPrompt(`${styled('yellow', question, process.stderr)} [y/N] `);
    lines.prompt();
    const [answer] = (await Promise.race([once(lines, 'line'), once(lines, 'close')])) as [string?];
    if (answer === undefined) note('');
    return /^y(es)?$/i.test(answer?.trim() ?? '');
  } finally {
    lines.close();
  }
}
