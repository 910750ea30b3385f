/** `holdfast release`: services that were isolated by hand connect to Redis again. */
import type { Command } from 'commander';
import { type IsolationOptions, setIsolated } from './isolate.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('release')
      .description('let isolated services back to Redis')
      .option('--url <url>', 'one service, e.g. http://10.0.0.7:8080')
      .option('--json', 'print JSON: replica, url and breaker of each')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast release

Exit codes: 0 all that run here were told · 69 none or not all were · 77 the service wants HTTP_TOKEN`,
      )
      .action((options: IsolationOptions) =>
        run(source, (config) => setIsolated(config, false, options)),
      ),
  );
}
