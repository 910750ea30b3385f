/**
 * `holdfast outages`: what is on record of outages of Redis, and a ready post-mortem. Reads the data
 * folder; needs neither Redis nor a running service, except for the records of a fleet's other replicas.
 */
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { OutageNotFoundError } from '../errors.ts';
import {
  type Fate,
  fateOf,
  findFleetIds,
  findOutages,
  folderOfOutages,
  readOutages,
  recordsOfFleet,
  type StoredOutage,
} from '../outage/archive.ts';
import {
  avoided,
  FATES,
  knownUntil,
  lasted,
  mainCondition,
  momentsOf,
  postMortem,
  stamp,
} from '../outage/post-mortem.ts';
import { describeCondition } from '../redis/condition-catalogue.ts';
import { EXIT } from './exit-codes.ts';
import { fleetOutages } from './fleet-outages.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';
import { table } from './table.ts';
import { note, plainLine, print, styled } from './terminal.ts';

interface ListOptions {
  json?: boolean;
}

interface ShowOptions {
  json?: boolean;
  markdown?: boolean;
  fleet?: boolean;
}

/** Enough to tell outages apart, and to be typed. */
const ID_CHARS = 8;

const COLOURS: Readonly<Record<Fate, 'red' | 'green' | 'yellow'>> = {
  open: 'red',
  ended: 'green',
  stopped: 'yellow',
  interrupted: 'yellow',
};

export function register(program: Command, source: ConfigSource): void {
  const outages = exitsAsDocumented(
    program
      .command('outages')
      .description('show what is on record of outages of Redis')
      .option('--json', 'print JSON')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast outages
  $ holdfast outages show 3f2a91c0
  $ holdfast outages show 3f2a91c0 --markdown > post-mortem.md
  $ holdfast outages show --fleet 77b0e4d1 --markdown
Exit codes: 0 done · 2 no such outage`,
      )
      .action((options: ListOptions) => run(source, (config) => list(config, options))),
  );
  exitsAsDocumented(
    outages
      .command('show')
      .description('one outage in detail, or its post-mortem')
      .argument('<id>', 'id of an outage, or of a fleet outage; its beginning is enough')
      .option('--fleet', 'the outage of the whole fleet: all records in this folder and in Redis')
      .option('--json', 'print JSON')
      .option('--markdown', 'print a post-mortem')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast outages show 3f2a91c0
  $ holdfast outages show 3f2a91c0 --json | jq .counts
  $ holdfast outages show --fleet 77b0e4d1 --markdown > post-mortem.md

Exit codes: 0 done · 2 no such outage, or several whose id begins so`,
      )
      .action((id: string, _own: ShowOptions, command: Command) => {
        // --json is an option of the list too, and commander gives it to whichever reads it first.
        const options = command.optsWithGlobals<ShowOptions>();
        return run(source, (config) => show(config, id, options));
      }),
  );
}

async function archive(config: Config): Promise<StoredOutage[]> {
  const dir = folderOfOutages(config.dataDir);
  const { outages, unreadable } = await readOutages(dir);
  for (const file of unreadable)
    note(`warning: ${dir}/${file} cannot be understood and is left out`);
  return outages;
}

async function list(config: Config, { json }: ListOptions): Promise<number> {
  const outages = await archive(config);
  const now = Date.now();
  if (json) {
    print(JSON.stringify({ outages: outages.map((o) => view(o, now)) }, null, 2));
    return EXIT.done;
  }
  if (outages.length === 0) {
    print(`No outage is on record in ${folderOfOutages(config.dataDir)}.`);
    return EXIT.done;
  }
  const head = ['id', 'began', 'lasted', 'condition', 'held', 'written', 'avoided', 'replica'];
  const rows = outages.map((outage) => [
    outage.id.slice(0, ID_CHARS),
    stamp(outage.startedAt).replace(/\.\d+ UTC$/, 'Z'),
    `${lasted(knownUntil(outage, now) - outage.startedAt)}${ongoing(fateOf(outage, now))}`,
    plainLine(mainCondition([outage], now)),
    `${outage.counts.held}`,
    `${outage.counts.replayed + outage.counts.healed}`,
    `${avoided(outage)}`,
    plainLine(outage.replica),
  ]);
  const hasFleet = outages.some(({ fleetId }) => fleetId !== undefined);
  if (hasFleet) {
    head.push('fleet outage');
    for (const [i, { fleetId }] of outages.entries()) {
      rows[i]!.push(fleetId?.slice(0, ID_CHARS) ?? '–');
    }
  }
  print(table([head, ...rows]));
  note(`\n\`holdfast outages show <id>\` tells more; --markdown makes a post-mortem.`);
  return EXIT.done;
}

function ongoing(fate: Fate): string {
  return fate === 'ended' ? '' : fate === 'open' ? ' so far' : ` (${fate})`;
}

async function show(config: Config, id: string, options: ShowOptions): Promise<number> {
  const local = await archive(config);
  // The line at the end of an outage gives both ids, and either may have been copied.
  const isFleet = options.fleet || (findOutages(local, id).length === 0 && isFleetId(local, id));
  const found = isFleet ? await ofFleet(config, local, id) : [one(local, id)];
  const now = Date.now();
  if (options.json) {
    const views = found.map((outage) => view(outage, now));
    print(JSON.stringify(isFleet ? { outages: views } : views[0], null, 2));
  } else if (options.markdown || isFleet) {
    print(postMortem(found, describeCondition, now));
  } else {
    print(draw(found[0]!, now));
  }
  return EXIT.done;
}

function isFleetId(outages: readonly StoredOutage[], id: string): boolean {
  return findFleetIds(outages, id).length > 0;
}

function one(outages: readonly StoredOutage[], id: string): StoredOutage {
  const found = findOutages(outages, id);
  if (found.length === 1) return found[0]!;
  const ids = found.map((outage) => outage.id);
  throw new OutageNotFoundError(id, 'in this data folder', ids);
}

/** The records of all replicas that can be seen, one of each outage. */
async function ofFleet(
  config: Config,
  local: readonly StoredOutage[],
  id: string,
): Promise<StoredOutage[]> {
  const ids = findFleetIds(local, id);
  if (ids.length > 1) throw new OutageNotFoundError(id, 'of a fleet', ids);
  const [fleetId = id] = ids;
  const { outages: shared, problem } = await fleetOutages(config, fleetId);
  if (problem !== undefined) note(`records of other replicas are left out: ${problem}`);
  const records = recordsOfFleet(fleetId, local, shared);
  if (records.length === 0) throw new OutageNotFoundError(id, 'of a fleet');
  return records;
}

function view(outage: StoredOutage, now: number): object {
  const { commandLine: _started, format: _format, interrupted: _mark, ...shown } = outage;
  return { ...shown, fate: fateOf(outage, now) };
}

function draw(outage: StoredOutage, now: number): string {
  const fate = fateOf(outage, now);
  const { cause, meaning, remedy } = describeCondition(mainCondition([outage], now));
  const { counts } = outage;
  const facts: [string, string][] = [
    ['began', stamp(outage.startedAt)],
    ['lasted', `${lasted(knownUntil(outage, now) - outage.startedAt)}${ongoing(fate)}`],
    ['replica', `${plainLine(outage.replica)}, version ${plainLine(outage.version)}`],
    ['fleet outage', outage.fleetId ?? '–'],
    ['detected', outage.detectMs > 0 ? `${outage.detectMs} ms after the last answer` : 'at once'],
    [
      'first job',
      outage.firstJobMs === undefined ? '–' : `${outage.firstJobMs} ms after Redis answered`,
    ],
    ['jobs', `${counts.held} held, ${counts.accepted} accepted into the journal`],
    [
      'outcomes',
      `${counts.journaled} put into the journal, ${counts.replayed} written, ${counts.healed} written again`,
    ],
    [
      'second runs',
      `${avoided(outage)} avoided, ${counts.locksRetaken} locks taken back, ${counts.runsLost} runs lost`,
    ],
    ['probes', `${counts.probes}`],
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  const bold = (text: string) => styled('bold', text, process.stdout);
  return [
    `${bold(`outage ${outage.id}`)}  ${styled(COLOURS[fate], FATES[fate], process.stdout)}`,
    `${mainCondition([outage], now)} (${cause}): ${meaning}`,
    '',
    ...facts.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    '',
    bold('timeline'),
    ...momentsOf(outage).map(({ at, what }) => `  ${stamp(at)}  ${plainLine(what)}`),
    '',
    bold('evidence'),
    ...(outage.evidence.length === 0
      ? ['  no error was seen']
      : outage.evidence.map(
          ({ text, count }) => `  ${`${count}`.padStart(5)} ×  ${plainLine(text)}`,
        )),
    '',
    bold('what to do'),
    `  ${remedy}`,
  ].join('\n');
}
