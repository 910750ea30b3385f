/** `holdfast config`: what is in force and where it came from; secrets are hidden. */
import type { Command } from 'commander';
import { type EffectiveSetting, loadConfig } from '../load-config.ts';
import { EXIT } from './exit-codes.ts';
import { exitsAsDocumented, run } from './run.ts';
import { table } from './table.ts';
import { note, plainLine, print, styled } from './terminal.ts';

interface ConfigOptions {
  json?: boolean;
  set?: boolean;
}

export function register(program: Command): void {
  exitsAsDocumented(
    program
      .command('config')
      .description('show settings and where they came from')
      .option('--set', 'only those that are not defaults')
      .option('--json', 'print JSON: settings, warnings')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast config
  $ holdfast config --set
  $ REDIS_URL=redis://db:6379 holdfast config --json | jq -r '.settings[] | select(.name == "REDIS_URL")'

Secrets are shown as ***. What each setting does: docs/configuration.md.
Exit codes: 0 usable · 78 a mistake, and what is allowed instead`,
      )
      .action((options: ConfigOptions) =>
        run(
          () => loadConfig().config,
          async () => show(options),
        ),
      ),
  );
}

function show({ json, set }: ConfigOptions): number {
  const { effective, warnings } = loadConfig();
  const settings = effective.filter(({ source }) => !set || source !== 'default');
  if (json) {
    print(JSON.stringify({ settings, warnings }, null, 2));
    return EXIT.done;
  }
  if (settings.length === 0) print('Everything is a default.');
  else print(table([['setting', 'from', 'value'], ...settings.map(row)]));
  for (const warning of warnings) note(`${styled('yellow', 'warning', process.stderr)} ${warning}`);
  return EXIT.done;
}

function row({ name, value, source }: EffectiveSetting): string[] {
  const from = source === 'default' ? styled('dim', source, process.stdout) : source;
  return [name, from, plainLine(value)];
}
