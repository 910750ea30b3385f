/** `holdfast journal list` and `export`: entries as people or other programs read them. */
import { createWriteStream, rmSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HoldfastError, InvalidInputError, JournalError } from '../errors.ts';
import { entriesOf, type FolderStatus, type Listed } from '../journal/inspect.ts';
import { EXIT } from './exit-codes.ts';
import { many } from './moments.ts';
import { table } from './table.ts';
import { note, plainLine, print } from './terminal.ts';

export interface EntryFilter {
  replica?: string;
  queue?: string;
  type?: string;
  jobId?: string;
  refused?: boolean;
}

type Found = Listed & { replica: string };

/**
 * Entries in order, one journal after the other; read as they are asked for. What cannot be read is told
 * on stderr, and costs nobody the rest.
 */
function* matching(
  folders: readonly FolderStatus[],
  filter: EntryFilter,
  onDamage: () => void,
): Generator<Found> {
  if (filter.type !== undefined && filter.type !== 'job' && filter.type !== 'outcome') {
    throw new InvalidInputError('--type', 'is not known', 'Use job or outcome.');
  }
  for (const folder of folders) {
    const { replica } = folder;
    for (const entry of readable(folder, onDamage)) {
      if (filter.queue !== undefined && entry.queue !== filter.queue) continue;
      if (filter.type !== undefined && entry.type !== filter.type) continue;
      if (filter.jobId !== undefined && entry.jobId !== filter.jobId) continue;
      if (filter.refused && entry.reason === undefined) continue;
      yield { replica, ...entry };
    }
  }
}

/** Says of a journal whose it is cannot be told why not. @returns whether that is so */
export function noteUnknown({ replica, lockFault }: FolderStatus): boolean {
  if (lockFault === undefined) return false;
  const text = `${replica}: whether a living process owns it cannot be told, its lock cannot be tried: ${lockFault}`;
  note(plainLine(text));
  return true;
}

function* readable(folder: FolderStatus, onDamage: () => void): Generator<Listed> {
  const { path, replica } = folder;
  let damaged = 0;
  if (noteUnknown(folder)) onDamage();
  try {
    yield* entriesOf(dirname(path), replica, () => {
      damaged += 1;
    });
  } catch (error) {
    if (!(error instanceof JournalError)) throw error;
    note(plainLine(`${replica}: ${error.message}`));
    onDamage();
  }
  if (damaged === 0) return;
  note(plainLine(`${replica}: ${many(damaged, 'damaged entry')} left out; verify tells more.`));
  onDamage();
}

export function list(
  folders: readonly FolderStatus[],
  options: EntryFilter & { limit: number; json?: boolean },
): number {
  const found: Found[] = [];
  let isMore = false;
  let exit: number = EXIT.done;
  const onDamage = () => {
    exit = EXIT.jobFailed;
  };
  for (const entry of matching(folders, options, onDamage)) {
    isMore = found.length === options.limit;
    if (isMore) break;
    found.push(entry);
  }
  if (options.json) print(JSON.stringify(found, null, 2));
  else if (found.length === 0) note('No entries.');
  else print(table([HEAD, ...found.map(rowOf)]));
  if (isMore) note(`There are more than ${options.limit}: --limit shows more, export all.`);
  return exit;
}

const HEAD = ['replica', 'position', 'kind', 'queue', 'job', 'accepted', 'state'];

function rowOf(entry: Found): string[] {
  const { replica, position, queue, jobId, at } = entry;
  const waiting = entry.type === 'job' ? entry.mark : 'unsettled';
  return [
    replica,
    String(position),
    entry.type === 'job' ? 'job' : entry.kind,
    queue,
    jobId,
    new Date(at).toISOString(),
    entry.reason === undefined ? waiting : `refused: ${entry.reason}`,
  ].map(plainLine);
}

export async function exportEntries(
  folders: readonly FolderStatus[],
  options: EntryFilter & { output?: string },
): Promise<number> {
  let count = 0;
  let exit: number = EXIT.done;
  const onDamage = () => {
    exit = EXIT.jobFailed;
  };
  const lines = Readable.from(
    matching(folders, options, onDamage)
      .map((entry) => `${JSON.stringify(entry)}\n`)
      .map((line) => {
        count += 1;
        return line;
      }),
  );
  if (options.output === undefined) await pipeline(lines, process.stdout, { end: false });
  else await writeWhole(options.output, lines);
  note(`${many(count, 'entry')}.`);
  return exit;
}

/** All of it or nothing; entries hold job data, so that only the owner may read them. */
async function writeWhole(path: string, lines: Readable): Promise<void> {
  const partial = `${path}.${process.pid}.part`;
  try {
    await pipeline(lines, createWriteStream(partial, { flags: 'wx', mode: 0o600 }));
    await rename(partial, path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'EEXIST') rmSync(partial, { force: true });
    if (code === undefined || cause instanceof HoldfastError) throw cause;
    throw new InvalidInputError(
      '--output',
      `${path} cannot be written (${code})`,
      'Name another.',
      {
        cause,
      },
    );
  }
}
