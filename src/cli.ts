/**
 * The command line: one file per command in `cli/`. This one lists them, and loads only the one that is
 * asked for.
 */
import { Command } from 'commander';
import { answerAsJson, type ConfigSource, exitsAsDocumented } from './cli/run.ts';
import { loadConfig, packageVersion } from './load-config.ts';

interface CommandFile {
  register(program: Command, source: ConfigSource): void;
}

/** In the order and under the headings of `--help`. */
const commands: Readonly<Record<string, Readonly<Record<string, () => Promise<CommandFile>>>>> = {
  'Run:': {
    start: () => import('./cli/start.ts'),
    quiet: () => import('./cli/quiet.ts'),
    isolate: () => import('./cli/isolate.ts'),
    release: () => import('./cli/release.ts'),
  },
  'Jobs:': {
    enqueue: () => import('./cli/enqueue.ts'),
    failed: () => import('./cli/failed.ts'),
    retry: () => import('./cli/retry.ts'),
  },
  'Queues:': {
    pause: () => import('./cli/pause.ts'),
    resume: () => import('./cli/resume.ts'),
    empty: () => import('./cli/empty.ts'),
    schedules: () => import('./cli/schedules.ts'),
  },
  'Look:': {
    status: () => import('./cli/status.ts'),
    doctor: () => import('./cli/doctor.ts'),
    outages: () => import('./cli/outages.ts'),
    journal: () => import('./cli/journal.ts'),
    config: () => import('./cli/config.ts'),
  },
};

export async function main(argv: string[]): Promise<void> {
  const program = await createProgram(undefined, argv[0]);
  await program.parseAsync(argv, { from: 'user' });
}

/**
 * The command `only`, or all of them where there is none of that name: then help or a hint is wanted.
 * For the bin and for tests, which bring a configuration of their own.
 */
export async function createProgram(
  source: ConfigSource = () => loadConfig({ isCaller: true }).config,
  only?: string,
): Promise<Command> {
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
  program.hook('preAction', (_program, command) => {
    answerAsJson(command.optsWithGlobals<{ json?: boolean }>().json === true);
  });
  const isOne = Object.values(commands).some((group) => only !== undefined && only in group);
  for (const [heading, group] of Object.entries(commands)) {
    program.commandsGroup(heading);
    for (const [name, load] of Object.entries(group)) {
      if (!isOne || name === only) (await load()).register(program, source);
    }
  }
  program.helpCommand('help [command]', 'show help for a command');
  return program;
}
