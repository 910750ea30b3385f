/** `holdfast quiet`: running services take no more jobs and go on with those that run. */
import type { Command } from 'commander';
import { servicesHere } from '../service-note.ts';
import { EXIT } from './exit-codes.ts';
import { type ConfigSource, run } from './run.ts';
import { note, print } from './terminal.ts';

export function register(program: Command, source: ConfigSource): void {
  program
    .command('quiet')
    .description('Tell the services of this data folder to take no more jobs (as SIGTSTP).')
    .action(async () => {
      await run(source, async ({ dataDir }) => {
        let told = 0;
        for (const { pid, replica, obeysSignals } of await servicesHere(dataDir)) {
          if (obeysSignals) {
            told += tell(pid, replica);
          } else {
            // The signal would suspend an app that does not listen for it.
            note(
              `${replica} (process ${pid}) runs inside an app: call quiet() of its service there.`,
            );
          }
        }
        if (told > 0) return EXIT.done;
        note(
          `No service of ${dataDir} was told. Start one with \`holdfast start\`, or set DATA_DIR.`,
        );
        return EXIT.unavailable;
      });
    });
}

/** How many were told: 0 when it ended meanwhile, or is another user's. */
function tell(pid: number, replica: string): number {
  try {
    process.kill(pid, 'SIGTSTP');
  } catch (error) {
    note(`${replica} (process ${pid}) cannot be told (${(error as NodeJS.ErrnoException).code})`);
    return 0;
  }
  print(`${replica} (process ${pid}) takes no more jobs`);
  return 1;
}
