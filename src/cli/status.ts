/**
 * `holdfast status`: which services run here, whether Redis is there, and how many jobs wait. Only
 * looks; changes nothing and adds no key.
 */
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { HoldfastError, NothingReachableError } from '../errors.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { findRoute } from './find-route.ts';
import { HttpRoute } from './http-route.ts';
import type { QueueCounts, Route } from './route.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';
import { type Readiness, type RunningService, runningServices } from './services.ts';
import { note, print, styled, table } from './terminal.ts';

/** In the order of a job's life. */
const STATES = [
  'waiting',
  'prioritized',
  'active',
  'delayed',
  'waiting-children',
  'completed',
  'failed',
];

interface Status {
  services: (Readiness & { url: string })[];
  /** Where the counts come from. */
  source: string;
  queues: QueueCounts[];
}

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('status')
      .description('show running services, the state of Redis and the queues')
      .option('--json', 'print JSON')
      .option('--url <url>', 'the service to ask, e.g. http://127.0.0.1:8080')
      .addHelpText(
        'after',
        '\nExit codes: 0 a service or Redis answered · 69 neither did · 77 the service wants HTTP_TOKEN',
      )
      .action((options: { json?: boolean; url?: string }) =>
        run(source, (config) => status(config, options)),
      ),
  );
}

async function status(config: Config, options: { json?: boolean; url?: string }): Promise<number> {
  const { services } = await runningServices(config, options.url);
  const [first] = services;
  let route: Route;
  try {
    route =
      first === undefined
        ? await findRoute(config, options.url)
        : new HttpRoute(first.url, config.http.token);
  } catch (error) {
    if (!(error instanceof NothingReachableError) || !options.json) throw error;
    const { tried } = error.data;
    print(JSON.stringify({ services: [], queues: [], tried }, null, 2));
    return EXIT.unavailable;
  }
  try {
    const { queues, error } = await queuesOf(route);
    const found = { services: services.map(flat), source: route.name, queues };
    if (options.json) print(JSON.stringify(found, null, 2));
    else print(draw(found));
    if (error === undefined) return EXIT.done;
    note(error.message);
    return exitCodeOf(error);
  } finally {
    await route.close();
  }
}

/** A service that answers its probe is shown even when its queues cannot be listed. */
async function queuesOf(route: Route): Promise<{ queues: QueueCounts[]; error?: HoldfastError }> {
  try {
    return { queues: await route.queues() };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return { queues: [], error };
  }
}

function flat({ url, readiness }: RunningService): Readiness & { url: string } {
  return { ...readiness, url };
}

function draw({ services, source, queues }: Status): string {
  const parts: string[] = [];
  if (services.length === 0) parts.push(`No service runs here; asked ${source}.`);
  for (const service of services) parts.push(drawService(service));
  parts.push(drawQueues(queues));
  return parts.join('\n\n');
}

function drawService({
  url,
  status,
  version,
  replica,
  breaker,
  condition,
  reason,
  since,
}: Status['services'][number]): string {
  const colour = status === 'ok' ? 'green' : status === 'degraded' ? 'yellow' : 'red';
  const head = [
    styled(colour, status, process.stdout),
    url,
    ...(replica === undefined ? [] : [`replica ${replica}`]),
    ...(version === undefined ? [] : [`version ${version}`]),
  ].join('  ');
  const lines = [head];
  if (breaker !== undefined) {
    const why = condition === undefined ? '' : ` (${condition})`;
    lines.push(`  breaker ${breaker}${why}${since === undefined ? '' : ` since ${since}`}`);
  }
  if (reason !== undefined) lines.push(`  ${reason}`);
  return lines.join('\n');
}

function drawQueues(queues: readonly QueueCounts[]): string {
  if (queues.length === 0) return 'No queues.';
  const head = ['queue', ...STATES, ''];
  const rows = queues.map(({ queue, counts, isConsuming, reason }) => [
    queue,
    ...STATES.map((state) => (counts === null ? '–' : `${counts[state] ?? 0}`)),
    isConsuming === false ? `not consumed here${reason === undefined ? '' : `: ${reason}`}` : '',
  ]);
  return table([head, ...rows]);
}
