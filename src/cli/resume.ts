/** `holdfast resume`: workers take jobs of a paused queue again. */
import type { Command } from 'commander';
import { setPaused } from './pause.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('resume')
      .description('go on with a paused queue')
      .argument('<queue>', 'the queue to resume')
      .option('--json', 'print JSON: queue, isPaused, waiting, active')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast resume email

Exit codes: 0 it goes on (also when it was not paused) · 2 no such queue · 69 Redis is away`,
      )
      .action((queue: string, options: { json?: boolean }) =>
        run(source, (config) => setPaused(config, queue, false, options)),
      ),
  );
}
