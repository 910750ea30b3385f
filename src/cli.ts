/**
 * The command line: one file per command in `cli/`. This one lists them.
 */
import { Command } from 'commander';
import { register as registerConfig } from './cli/config.ts';
import { register as registerDoctor } from './cli/doctor.ts';
import { register as registerEmpty } from './cli/empty.ts';
import { register as registerEnqueue } from './cli/enqueue.ts';
import { register as registerFailed } from './cli/failed.ts';
import { register as registerIsolate } from './cli/isolate.ts';
import { register as registerJournal } from './cli/journal.ts';
import { register as registerOutages } from './cli/outages.ts';
import { register as registerPause } from './cli/pause.ts';
import { register as registerQuiet } from './cli/quiet.ts';
import { register as registerRelease } from './cli/release.ts';
import { register as registerResume } from './cli/resume.ts';
import { register as registerRetry } from './cli/retry.ts';
import { type ConfigSource, exitsAsDocumented } from './cli/run.ts';
import { register as registerSchedules } from './cli/schedules.ts';
import { register as registerStart } from './cli/start.ts';
import { register as registerStatus } from './cli/status.ts';
import { loadConfig, packageVersion } from './load-config.ts';

export async function main(argv: string[]): Promise<void> {
  await createProgram().parseAsync(argv, { from: 'user' });
}

/** All commands, for the bin and for tests, which bring a configuration of their own. */
export function createProgram(source: ConfigSource = () => loadConfig().config): Command {
  const program = exitsAsDocumented(
    new Command('holdfast')
      .description(
        'A background-worker service for BullMQ queues that keeps its promises while Redis does not.',
      )
      .version(packageVersion(), '-v, --version')
      .showSuggestionAfterError()
      .showHelpAfterError('(holdfast --help lists the commands)')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast start                          run the handlers of ./workers
  $ holdfast enqueue faq '{"question":"What do I do when Redis is down?"}' --wait
  $ holdfast status --json
  $ holdfast doctor                         what is wrong with Redis, and what to do
  $ holdfast failed email && holdfast retry email --all
Each command has examples of its own: holdfast retry --help. Results go to stdout, all else to stderr.
Settings are environment variables: see \`holdfast config\` and docs/configuration.md.`,
      ),
  );
  program.commandsGroup('Run:');
  registerStart(program);
  registerQuiet(program, source);
  registerIsolate(program, source);
  registerRelease(program, source);
  program.commandsGroup('Jobs:');
  registerEnqueue(program, source);
  registerFailed(program, source);
  registerRetry(program, source);
  program.commandsGroup('Queues:');
  registerPause(program, source);
  registerResume(program, source);
  registerEmpty(program, source);
  registerSchedules(program, source);
  program.commandsGroup('Look:');
  registerStatus(program, source);
  registerDoctor(program, () => loadConfig());
  registerOutages(program, source);
  registerJournal(program, source);
  registerConfig(program);
  program.helpCommand('help [command]', 'show help for a command');
  return program;
}
