/** `holdfast config`: what is in force and where it came from; secrets are hidden. */
import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { run } from './run.ts';
import { print } from './terminal.ts';

export function register(program: Command): void {
  program
    .command('config')
    .description('Show the settings in force and where each came from.')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      await run(
        () => loadConfig().config,
        async () => {
          const { effective, warnings } = loadConfig();
          if (json) print(JSON.stringify({ settings: effective, warnings }, null, 2));
          else {
            const width = Math.max(...effective.map(({ name }) => name.length));
            for (const { name, value, source } of effective) {
              print(`${name.padEnd(width)}  ${value.padEnd(24)} ${source}`);
            }
            for (const warning of warnings) print(`warning: ${warning}`);
          }
          return 0;
        },
      );
    });
}
