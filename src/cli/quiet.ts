/** `holdfast quiet`: running services take no more jobs and go on with those that run. */
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { servicesHere } from '../service-note.ts';
import { EXIT } from './exit-codes.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';
import { note, print } from './terminal.ts';

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('quiet')
      .description('let the services here take no more jobs')
      .option('--json', 'print JSON: the services that were told')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast quiet && sleep 60 && systemctl restart holdfast

Running jobs go on; only a restart takes jobs again. Works without Redis. To hold a queue back in the
whole fleet use \`holdfast pause\`.
Exit codes: 0 at least one was told · 69 none was: none runs here with this DATA_DIR`,
      )
      .action((options: { json?: boolean }) => run(source, (config) => quiet(config, options))),
  );
}

async function quiet({ dataDir }: Config, { json }: { json?: boolean }): Promise<number> {
  const told: { replica: string; pid: number }[] = [];
  for (const { pid, replica, obeysSignals } of await servicesHere(dataDir)) {
    if (!obeysSignals) {
      // The signal would suspend an app that does not listen for it.
      note(`${replica} (process ${pid}) runs inside an app: call quiet() of its service there.`);
    } else if (tell(pid, replica)) {
      told.push({ replica, pid });
    }
  }
  if (json) print(JSON.stringify({ told }, null, 2));
  else for (const { replica, pid } of told) print(`${replica} (process ${pid}) takes no more jobs`);
  if (told.length > 0) return EXIT.done;
  note(`No service of ${dataDir} was told. Start one with \`holdfast start\`, or set DATA_DIR.`);
  return EXIT.unavailable;
}

/** Whether it was told: not when it ended meanwhile, or is another user's. */
function tell(pid: number, replica: string): boolean {
  try {
    process.kill(pid, 'SIGTSTP');
    return true;
  } catch (error) {
    note(`${replica} (process ${pid}) cannot be told (${(error as NodeJS.ErrnoException).code})`);
    return false;
  }
}
