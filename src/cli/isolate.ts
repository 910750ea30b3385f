/** `holdfast isolate`: the services here leave Redis alone until `release`. */
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { HoldfastError, NothingReachableError } from '../errors.ts';
import { servicesHere } from '../service-note.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { HttpRoute, type IsolationView } from './http-route.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';
import { bestToken, runningServices } from './services.ts';
import { complain, note, print } from './terminal.ts';

export interface IsolationOptions {
  json?: boolean;
  reason?: string;
  url?: string;
}

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('isolate')
      .description('keep the services here away from Redis')
      .option('--reason <text>', 'why; for the log and the record of the outage')
      .option('--url <url>', 'one service, e.g. http://10.0.0.7:8080')
      .option('--json', 'print JSON: replica, url and breaker of each')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast isolate --reason 'maintenance of redis-2'
  $ holdfast isolate && move-redis && holdfast release

As in an outage: no job is taken, running ones go on, results and new jobs are kept in the journal. A
restart ends it. Other replicas are told with --url.
Exit codes: 0 all that run here were told · 69 none or not all were · 77 the service wants HTTP_TOKEN`,
      )
      .action((options: IsolationOptions) =>
        run(source, (config) => setIsolated(config, true, options)),
      ),
  );
}

/** Opens the breaker of every service here by hand, or releases it; the same again changes nothing. */
export async function setIsolated(
  config: Config,
  isIsolated: boolean,
  { json, reason, url }: IsolationOptions,
): Promise<number> {
  const { services, tried } = await runningServices(config, url);
  const told: (Pick<IsolationView, 'replica' | 'breaker'> & { url: string })[] = [];
  let exitCode: number = EXIT.done;
  for (const service of services) {
    try {
      const route = new HttpRoute(service.url, bestToken(config));
      const { replica, breaker } = await route.setIsolated(isIsolated, reason);
      told.push({ replica, url: service.url, breaker });
      if (!json) print(sentence(replica, isIsolated));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      complain(error);
      exitCode = exitCodeOf(error);
    }
  }
  const mute = url === undefined ? await servicesHere(config.dataDir) : [];
  for (const { replica, pid, http } of mute) {
    if (http !== null) continue;
    note(`${replica} (process ${pid}) runs without HTTP and cannot be told.`);
    exitCode = EXIT.unavailable;
  }
  if (services.length === 0 && mute.every(({ http }) => http !== null)) {
    throw new NothingReachableError(tried);
  }
  if (json) print(JSON.stringify({ told }, null, 2));
  return exitCode;
}

function sentence(replica: string, isIsolated: boolean): string {
  if (!isIsolated) return `${replica} connects to Redis again.`;
  return `${replica} leaves Redis alone: running jobs go on, what is accepted is kept here.\nTo go on: holdfast release`;
}
