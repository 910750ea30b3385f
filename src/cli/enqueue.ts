/**
 * `holdfast enqueue`: one job from the command line, a file or stdin, or many as NDJSON; and, with
 * `--wait`, its progress and its result. What it says it has done, is done: an id is printed only
 * after the job is kept.
 */
import type { JobsOptions } from 'bullmq';
import { type Command, Option } from 'commander';
import { v7 as uuidv7 } from 'uuid';
import type { Config } from '../config.ts';
import { InvalidInputError } from '../errors.ts';
import { type JobInput, readJob } from '../http/job-input.ts';
import type { Accepted, JobView } from '../queue/client.ts';
import { assertQueueName } from '../queue/queue-name.ts';
import { enqueueMany } from './enqueue-many.ts';
import { EXIT } from './exit-codes.ts';
import { findRoute } from './find-route.ts';
import { FollowedRoute } from './followed-route.ts';
import { type JobSource, openSource, type SourceValue } from './job-source.ts';
import { OutputFile } from './output-file.ts';
import type { Route } from './route.ts';
import { type ConfigSource, duration, exitsAsDocumented, run, wholeNumber } from './run.ts';
import { note, plainLine, print, styled } from './terminal.ts';
import { waitForJob } from './wait.ts';

/** Long enough for a model to write; a script that needs another says so. */
const WAIT_DEFAULT = '10m';

interface EnqueueOptions {
  name?: string;
  jobId?: string;
  delay?: number;
  priority?: number;
  attempts?: number;
  unknown?: boolean;
  wait?: boolean;
  output?: string;
  timeout: number;
  isTimeoutGiven?: boolean;
  json?: boolean;
  url?: string;
}

const HELP = `
Examples:
  $ holdfast enqueue faq '{"question":"What do I do when Redis is down?"}' --wait
  $ holdfast enqueue faq @question.json --wait --output answer.md
  $ holdfast enqueue webhook - < jobs.ndjson        one job a line
  $ holdfast enqueue email '{"to":"a@b.c"}' --delay 5m --attempts 5 --job-id welcome-a

It goes through a running service when there is one (its journal keeps jobs while Redis is away),
else straight to Redis. Results go to stdout, all else to stderr.

Exit codes: 0 done · 1 the job failed · 2 wrong arguments or input · 69 neither service nor Redis
can keep the job · 77 the service wants HTTP_TOKEN · 124 --timeout is over, the job goes on`;

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('enqueue')
      .description('add a job, or many, and wait for the result if you like')
      .argument('<queue>', 'the queue to add to')
      .argument('<data>', "the job's data: JSON, @file, or - for stdin (NDJSON: one job a line)")
      .option('--name <name>', 'job name (default: the queue)')
      .option('--job-id <id>', 'id of the job; adding the same id again adds nothing')
      .option('--delay <time>', 'start it not before: ms, 30s, 5m, 2h', duration)
      .option('--priority <n>', '1 is first; jobs without one go before', wholeNumber)
      .option('--attempts <n>', "attempts in all (default: the handler's)", wholeNumber)
      .option('--unknown', 'also when no worker of the service handles the queue')
      .option('--wait', 'show progress, then print the result or the document')
      .option('--output <file>', 'with --wait: write the result there')
      .addOption(
        new Option('--timeout <time>', 'with --wait: wait no longer than')
          .argParser(duration)
          .default(duration(WAIT_DEFAULT), WAIT_DEFAULT),
      )
      .option('--json', 'print JSON: id, queue, stored; with --wait the whole job')
      .option('--url <url>', 'the service to use, e.g. http://127.0.0.1:8080')
      .addHelpText('after', HELP)
      .action((queue: string, data: string, options: EnqueueOptions, command: Command) => {
        const isTimeoutGiven = command.getOptionValueSource('timeout') === 'cli';
        return run(source, (config) =>
          enqueue(config, queue, data, { ...options, isTimeoutGiven }),
        );
      }),
  );
}

async function enqueue(
  config: Config,
  queue: string,
  argument: string,
  options: EnqueueOptions,
): Promise<number> {
  assertQueueName(queue);
  if (options.output !== undefined && !options.wait) {
    throw new InvalidInputError('--output', 'needs --wait', 'Add --wait: the result comes later.');
  }
  if (options.isTimeoutGiven && !options.wait) {
    throw new InvalidInputError(
      '--timeout',
      'needs --wait',
      'Add --wait, or leave --timeout out: without --wait nothing is waited for.',
    );
  }
  // Before the job is there: afterwards nobody would have its result.
  const output = options.output === undefined ? undefined : await OutputFile.at(options.output);
  const input = await openSource(argument, process.stdin);
  try {
    return await add(config, queue, input, options, output);
  } finally {
    input.close();
  }
}

async function add(
  config: Config,
  queue: string,
  input: JobSource,
  options: EnqueueOptions,
  output: OutputFile | undefined,
): Promise<number> {
  if (input.isBulk && (options.wait || options.jobId !== undefined)) {
    const option = options.wait ? '--wait' : '--job-id';
    throw new InvalidInputError(option, 'is for one job', `Leave it out, or send one job.`);
  }
  const jobOf = ({ value, line }: SourceValue): JobInput => {
    const job = { name: options.name, data: value, options: jobOptions(options) };
    const at = input.isBulk ? `line ${line}` : '';
    // Through JSON, as HTTP would: options that were not given are not there.
    const { data: _data, ...rest } = JSON.parse(JSON.stringify({ ...job, data: null }));
    const read = readJob(queue, { ...rest, data: value }, at, config.jobBytesMax);
    return { ...read, options: { jobId: uuidv7(), ...read.options } };
  };

  if (input.isBulk) {
    const route = await findRoute(config, options.url);
    try {
      return await enqueueMany(route, queue, input, jobOf, options);
    } finally {
      await route.close();
    }
  }
  const jobs: JobInput[] = [];
  // Read and checked before anything is connected: a mistake costs no wait.
  for await (const value of input.values) jobs.push(jobOf(value));
  const route = await findRoute(config, options.url);
  let open: Pick<Route, 'close'> = route;
  try {
    const [accepted] = await route.enqueue(queue, jobs, options.unknown ?? false);
    const again = options.url === undefined ? () => findRoute(config, undefined) : undefined;
    const followed = new FollowedRoute(route, again, accepted!.stored === 'redis');
    open = followed;
    return await settle(followed, queue, accepted!, options, output);
  } finally {
    await open.close();
  }
}

function jobOptions({ jobId, delay, priority, attempts }: EnqueueOptions): JobsOptions {
  return {
    ...(jobId === undefined ? {} : { jobId }),
    ...(delay === undefined ? {} : { delay }),
    ...(priority === undefined ? {} : { priority }),
    ...(attempts === undefined ? {} : { attempts }),
  };
}

async function settle(
  route: FollowedRoute,
  queue: string,
  accepted: Accepted,
  options: EnqueueOptions,
  output: OutputFile | undefined,
): Promise<number> {
  const { id, stored } = accepted;
  const where = stored === 'journal' ? "the service's journal, Redis is away or slow" : 'Redis';
  note(`Job ${id} is kept in ${where} (${route.name}).`);
  if (!options.wait) {
    print(options.json ? JSON.stringify({ id, queue, stored }) : id);
    return EXIT.done;
  }
  const end = await waitForJob(route, queue, id, { timeoutMs: options.timeout, say: note });
  switch (end.type) {
    case 'finished':
      return end.job.state === 'completed'
        ? await deliver(route, end.job, options, output)
        : failed(end.job, options);
    case 'gone':
      note(
        `Job ${id} is no longer in Redis: it was removed before its result could be read. Keep finished jobs for a while (removeOnComplete, retention).`,
      );
      return EXIT.jobFailed;
    case 'timed-out':
      note(
        `Job ${id} is not finished after ${options.timeout} ms (${end.last?.state ?? 'state unknown'}). It goes on; --timeout waits longer.`,
      );
      return EXIT.timedOut;
  }
}

async function deliver(
  route: Pick<Route, 'document'>,
  job: JobView,
  options: EnqueueOptions,
  output: OutputFile | undefined,
): Promise<number> {
  const text = options.json ? JSON.stringify(job, null, 2) : await resultOf(route, job);
  if (output === undefined) {
    print(text);
    return EXIT.done;
  }
  try {
    await output.write(text.endsWith('\n') ? text : `${text}\n`);
  } catch (error) {
    // The job does not run again: its result must not be lost with the file.
    print(text);
    throw error;
  }
  note(`Written to ${options.output}.`);
  return EXIT.done;
}

function failed(job: JobView, options: EnqueueOptions): number {
  if (options.json) print(JSON.stringify(job, null, 2));
  if (job.state === 'refused') {
    note(
      `${styled('red', 'refused', process.stderr)} by Redis: ${plainLine(job.failedReason ?? 'no reason recorded')}. The journal keeps it: holdfast journal list --refused`,
    );
    return EXIT.jobFailed;
  }
  note(
    `${styled('red', 'failed', process.stderr)} after ${job.attemptsMade} attempt${job.attemptsMade === 1 ? '' : 's'}: ${plainLine(job.failedReason ?? 'no reason recorded')}`,
  );
  return EXIT.jobFailed;
}

/** The document of a job that wrote one, else its result as JSON. */
async function resultOf(route: Pick<Route, 'document'>, job: JobView): Promise<string> {
  const { markdown } = (job.result ?? {}) as { markdown?: unknown };
  if (typeof markdown !== 'string') return JSON.stringify(job.result ?? null, null, 2);
  // The result may carry a shortened document; the service has the whole one.
  return (await route.document(job.queue, job.id)) ?? markdown;
}
