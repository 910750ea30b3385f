/**
 * `holdfast journal`: looks into the journals of this machine, also beside a running service and
 * without Redis, and puts back to work what no living process owns. Never touches the folder of a
 * living one.
 */
import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Config } from '../config.ts';
import { ConfigError, InvalidInputError } from '../errors.ts';
import {
  type FolderOwner,
  type FolderStatus,
  journalOwners,
  journalStatus,
  type Soundness,
  verifyFolder,
} from '../journal/inspect.ts';
import { EXIT } from './exit-codes.ts';
import { type EntryFilter, exportEntries, list, noteUnknown } from './journal-entries.ts';
import { type ConfigSource, duration, exitsAsDocumented, run, wholeNumber } from './run.ts';
import { table } from './table.ts';
import { note, plainLine, print, type Style, styled } from './terminal.ts';

const LIST_DEFAULT = 50;
const REPLAY_DEFAULT = '60s';

/** Examples and exit codes of each. */
const HELP: Readonly<Record<string, string>> = {
  status: help(
    ['status', 'status --json | jq \'.journals[] | select(.owner == "none") | .path\''],
    '0 told · 1 some cannot be read',
  ),
  list: help(
    ['list --type job --queue mail', 'list --refused', 'list --job-id 0190f3b2 --json'],
    '0 told · 1 some cannot be read, or whose it is cannot be told · 2 wrong arguments, or no such journal',
  ),
  export: help(
    ['export --output journal.ndjson', 'export --queue mail | wc -l'],
    '0 all is written · 1 all that can be read, or whose it is cannot be told · 2 wrong arguments, or no such journal',
  ),
  verify: help(
    ['verify', 'verify --replica web-1 --json'],
    '0 all are sound · 1 damage was found, or one cannot be checked · 2 no such journal',
  ),
  replay: help(
    ['replay', 'replay --refused --timeout 5m', 'replay --json'],
    '0 all is in Redis, or there was nothing · 1 Redis refuses entries, the time is over, a journal was damaged\nor cannot be taken over · 69 Redis did not answer; everything is kept',
  ),
};

function help(examples: readonly string[], codes: string): string {
  const lines = examples.map((example) => `  $ holdfast journal ${example}`);
  return `\nExamples:\n${lines.join('\n')}\n\nExit codes: ${codes}`;
}

export function register(program: Command, source: ConfigSource): void {
  const journal = exitsAsDocumented(
    program
      .command('journal')
      .description('look into the journals on this machine, and replay what nobody owns')
      .addHelpText(
        'after',
        '\nExamples:\n  $ holdfast journal status\n  $ holdfast journal replay --help\n\nExit codes: 0 done · 1 damage was found, or something could not be replayed · 2 wrong arguments · 69 Redis did not answer',
      ),
  );
  const add = (name: string, description: string): Command =>
    exitsAsDocumented(
      journal
        .command(name)
        .description(description)
        .addHelpText('after', HELP[name] ?? ''),
    );
  const filtered = (command: Command): Command =>
    command
      .option('--replica <name>', 'only the journal of this replica')
      .option('--queue <name>', 'only entries of this queue')
      .option('--type <type>', 'only `job` or `outcome`')
      .option('--job-id <id>', 'only entries of jobs whose id begins so')
      .option('--refused', 'only what Redis refuses for good');

  add('status', 'whose journals there are and what they hold')
    .option('--json', 'print JSON')
    .action((options: { json?: boolean }) => run(source, async (c) => status(c, options)));
  filtered(add('list', 'the entries, oldest first, without their data'))
    .option('--limit <n>', 'show so many at most', someNumber, LIST_DEFAULT)
    .option('--json', 'print JSON, with the data')
    .action((options: EntryFilter & { limit: number; json?: boolean }) =>
      run(source, async (c) => list(foldersOf(c, journalOwners, options.replica), options)),
    );
  filtered(add('export', 'every entry with its data as NDJSON; to stdout or a file'))
    .option('--output <file>', 'write there, readable by its owner only')
    .action((options: EntryFilter & { output?: string }) =>
      run(source, (c) => exportEntries(foldersOf(c, journalOwners, options.replica), options)),
    );
  add('verify', 'check every file and entry; changes nothing')
    .option('--replica <name>', 'only the journal of this replica')
    .option('--json', 'print JSON')
    .action((options: { replica?: string; json?: boolean }) =>
      run(source, async (c) => verify(c, options)),
    );
  add('replay', 'take over what no living process owns and write it to Redis')
    .option('--refused', 'also what Redis refused before')
    .addOption(
      new Option('--timeout <time>', 'wait no longer than')
        .argParser(duration)
        .default(duration(REPLAY_DEFAULT), REPLAY_DEFAULT),
    )
    .option('--json', 'print JSON: written, left, refused, path, living, unknown, damaged, failed')
    .action((options: { refused?: boolean; timeout: number; json?: boolean }) =>
      run(source, async (c) => {
        // Only now: BullMQ takes longer to load than all that the others do.
        const { replay } = await import('./journal-replay.ts');
        return replay(c, foldersOf(c, journalOwners), options);
      }),
    );
}

/** For commander's options. */
function someNumber(text: string): number {
  const number = wholeNumber(text);
  if (number === 0) throw new InvalidArgumentError('Use a whole number from 1.');
  return number;
}

/**
 * The journals below the configured folder.
 * @throws InvalidInputError if the named one is not there
 * @throws ConfigError if the folder cannot be read
 */
function foldersOf<F extends FolderOwner>(
  config: Config,
  look: (dir: string) => F[],
  replica?: string,
): F[] {
  const { dir } = config.resilience.journal;
  let all: F[];
  try {
    all = existsSync(dir) ? look(dir) : [];
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    const allowed = `name a folder that this user may read (${code})`;
    throw new ConfigError([{ where: 'JOURNAL_DIR', value: dir, allowed }]);
  }
  if (replica === undefined) return all;
  const named = all.filter((folder) => folder.replica === replica);
  if (named.length > 0) return named;
  throw new InvalidInputError(
    '--replica',
    `has no journal in ${dir}`,
    all.length === 0
      ? 'JOURNAL_DIR or DATA_DIR names another folder.'
      : `There are: ${all.map((folder) => folder.replica).join(', ')}.`,
  );
}

function status(config: Config, { json }: { json?: boolean }): number {
  const folders = foldersOf(config, journalStatus);
  const exit = folders.some(({ unreadable }) => unreadable !== undefined)
    ? EXIT.jobFailed
    : EXIT.done;
  if (json) {
    print(JSON.stringify({ dir: config.resilience.journal.dir, journals: folders }, null, 2));
    return exit;
  }
  if (folders.length === 0) note(`No journal in ${config.resilience.journal.dir}.`);
  else print(table([HEAD, ...folders.map(rowOf)]));
  for (const folder of folders) {
    const { replica, unreadable, quarantined } = folder;
    noteUnknown(folder);
    if (unreadable !== undefined) note(plainLine(`${replica} cannot be read: ${unreadable}`));
    if (quarantined.length > 0) {
      note(`${replica}: ${quarantined.length} damaged in quarantine, each with a report.json`);
    }
  }
  const orphans = folders.filter(
    ({ owner, jobs, outcomes }) => owner === 'none' && jobs + outcomes > 0,
  );
  if (orphans.length > 0) {
    note(
      'What has no owner is taken over by a service with this folder, or by: holdfast journal replay',
    );
  }
  return exit;
}

const HEAD = ['replica', 'owner', 'jobs', 'outcomes', 'refused', 'bytes', 'oldest'];

function rowOf({
  replica,
  owner,
  jobs,
  outcomes,
  refused,
  bytes,
  oldestAt,
  unreadable,
}: FolderStatus): string[] {
  return [
    plainLine(replica),
    owner,
    // Unknown is not zero.
    ...[jobs, outcomes, refused, bytes].map((n) =>
      unreadable === undefined ? n.toLocaleString('en') : '–',
    ),
    oldestAt === undefined ? '–' : new Date(oldestAt).toISOString(),
  ];
}

const VERDICTS: Readonly<Record<Soundness['verdict'], readonly [Style, string]>> = {
  sound: ['green', 'sound'],
  damaged: ['red', 'damaged'],
  unknown: ['yellow', 'not checked'],
};

function verify(config: Config, { replica, json }: { replica?: string; json?: boolean }): number {
  const { dir } = config.resilience.journal;
  const found = foldersOf(config, journalOwners, replica).map((folder) => ({
    replica: folder.replica,
    path: folder.path,
    ...verifyFolder(dir, folder.replica),
  }));
  if (json) print(JSON.stringify(found, null, 2));
  else {
    for (const { replica: name, verdict, problems } of found) {
      const word = styled(...VERDICTS[verdict], process.stdout);
      print(
        `${plainLine(name)}: ${word}${problems.map((text) => `\n  ${plainLine(text)}`).join('')}`,
      );
    }
    if (found.length === 0) note(`No journal in ${dir}.`);
  }
  return found.some(({ verdict }) => verdict !== 'sound') ? EXIT.jobFailed : EXIT.done;
}
