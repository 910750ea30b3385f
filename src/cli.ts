/**
 * The command line: one file per command in `cli/`. This one lists them.
 */
import { Command } from 'commander';
import { register as registerConfig } from './cli/config.ts';
import { register as registerEnqueue } from './cli/enqueue.ts';
import { register as registerJournal } from './cli/journal.ts';
import { register as registerOutages } from './cli/outages.ts';
import { register as registerQuiet } from './cli/quiet.ts';
import { exitsAsDocumented } from './cli/run.ts';
import { register as registerStart } from './cli/start.ts';
import { register as registerStatus } from './cli/status.ts';
import { loadConfig, packageVersion } from './config.ts';

export async function main(argv: string[]): Promise<void> {
  const program = exitsAsDocumented(
    new Command('holdfast')
      .description(
        'A background-worker service for BullMQ queues that keeps its promises while Redis does not.',
      )
      .version(packageVersion(), '-v, --version')
      .showSuggestionAfterError()
      .showHelpAfterError('(holdfast --help lists the commands)')
      .helpCommand(true)
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast start                          run the handlers of ./workers
  $ holdfast enqueue faq '{"question":"What do I do when Redis is down?"}' --wait
  $ holdfast status --json
Settings are environment variables: see \`holdfast config\` and docs/configuration.md.`,
      ),
  );
  const source = () => loadConfig().config;
  registerStart(program);
  registerEnqueue(program, source);
  registerStatus(program, source);
  registerQuiet(program, source);
  registerJournal(program, source);
  registerOutages(program, source);
  registerConfig(program);
  await program.parseAsync(argv, { from: 'user' });
}
