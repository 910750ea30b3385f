/**
 * `holdfast status`: which services run here, whether Redis is there, the replicas of the fleet, and how
 * many jobs wait. Only looks; changes nothing and adds no key. What is not known is said to be so.
 */
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { HoldfastError, NothingReachableError } from '../errors.ts';
import type { FleetView } from '../queue/fleet-view.ts';
import { type ConditionName, conditions } from '../redis/condition-catalogue.ts';
import { servicesHere } from '../service-note.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { findRoute } from './find-route.ts';
import { HttpRoute } from './http-route.ts';
import type { QueueCounts, Route } from './route.ts';
import { type ConfigSource, exitsAsDocumented, run, viewOfError } from './run.ts';
import { bestToken, type RunningService, runningServices } from './services.ts';
import { drawStatus, type Status } from './status-screen.ts';
import { note, print } from './terminal.ts';

interface StatusOptions {
  json?: boolean;
  url?: string;
}

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('status')
      .description('show services, replicas, Redis, queues')
      .option('--json', 'print JSON')
      .option('--url <url>', 'the service to ask, e.g. http://127.0.0.1:8080')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast status
  $ watch -n 2 holdfast status
  $ holdfast status --json | jq '.queues[] | {queue, waiting: .counts.waiting}'

While Redis is away it shows what the services here know, and says what is not known and why.
Exit codes: 0 a service or Redis answered · 69 neither did · 77 the service wants HTTP_TOKEN`,
      )
      .action((options: StatusOptions) => run(source, (config) => status(config, options))),
  );
}

async function status(config: Config, options: StatusOptions): Promise<number> {
  const { services, tried } = await runningServices(config, options.url);
  const mute = options.url === undefined ? await muteServices(config, services, tried) : [];
  const [first] = services;
  let route: Route;
  try {
    route =
      first === undefined
        ? await findRoute(config, options.url)
        : new HttpRoute(first.url, bestToken(config));
  } catch (error) {
    if (!(error instanceof NothingReachableError)) throw error;
    return tellNothing(error, mute, options);
  }
  try {
    const [{ queues, error }, fleet] = await Promise.all([queuesOf(route), fleetOf(route)]);
    const found: Status = {
      services: services.map(({ url, readiness }) => ({ ...readiness, url })),
      mute,
      source: route.name,
      replicas: fleet.replicas,
      isFleetComplete: fleet.isComplete,
      queues,
      unknown: unknownOf(services, queues, fleet, error ?? route.unlisted),
    };
    if (options.json) print(JSON.stringify(found, null, 2));
    else print(drawStatus(found));
    return error === undefined ? EXIT.done : exitCodeOf(error);
  } finally {
    await route.close();
  }
}

/** Neither a service with HTTP nor Redis answered: what is left are processes that run here. */
function tellNothing(
  error: NothingReachableError,
  mute: readonly string[],
  { json }: StatusOptions,
): number {
  const { tried } = error.data;
  if (json) {
    const found = { services: [], mute, replicas: [], queues: [], tried };
    print(JSON.stringify({ ...found, error: viewOfError(error) }, null, 2));
  } else for (const line of mute) note(line);
  if (!json) throw error;
  return EXIT.unavailable;
}

/** Services of this data folder that run and cannot be asked, each as a line for people. */
async function muteServices(
  { dataDir }: Config,
  answered: readonly RunningService[],
  tried: readonly string[],
): Promise<string[]> {
  const lines: string[] = [];
  for (const { replica, pid, http } of await servicesHere(dataDir)) {
    const who = `${replica} (process ${pid})`;
    if (http === null) {
      lines.push(`${who} runs without HTTP: its state is not known here.`);
    } else if (!answered.some(({ url }) => new URL(url).port === new URL(http).port)) {
      const why = tried.find((line) => line.includes(`:${new URL(http).port}`)) ?? http;
      lines.push(`${who} runs and does not answer: ${why}`);
    }
  }
  return lines;
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

async function fleetOf(route: Route): Promise<FleetView> {
  try {
    return await route.replicas();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return { replicas: [], isComplete: false, reason: error.message };
  }
}

/** What this screen cannot tell, why, and what to do about it: one sentence each, none twice. */
function unknownOf(
  services: readonly RunningService[],
  queues: readonly QueueCounts[],
  fleet: FleetView,
  missing: HoldfastError | string | undefined,
): string[] {
  const sentences: string[] = [];
  const condition = services.map(({ readiness }) => readiness.condition).find(Boolean);
  const known = condition === undefined ? undefined : conditions[condition as ConditionName];
  if (queues.some(({ counts }) => counts === null)) {
    const why = known ? ` (${condition}): ${known.meaning}.` : '.';
    sentences.push(`How many jobs wait is not known: Redis is away${why}`);
  }
  if (fleet.reason !== undefined) sentences.push(fleet.reason);
  if (missing instanceof HoldfastError) sentences.push(missing.message);
  else if (missing !== undefined) sentences.push(`There may be more queues: ${missing}.`);
  if (known && sentences.length > 0) sentences.push(`What to do: ${known.remedy}`);
  return [...new Set(sentences)];
}
