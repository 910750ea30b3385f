/** `holdfast journal list` and `export`: entries as people or other programs read them. */
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { InvalidInputError, JournalError } from '../errors.ts';
import { systemCode } from '../journal/fault.ts';
import { entriesOf, type FolderOwner, type Listed } from '../journal/inspect.ts';
import { storedJob } from '../queue/job-store.ts';
import { EXIT } from './exit-codes.ts';
import { many } from './moments.ts';
import { OutputFile } from './output-file.ts';
import { table } from './table.ts';
import { note, plainLine, print } from './terminal.ts';

export interface EntryFilter {
  replica?: string;
  queue?: string;
  type?: string;
  jobId?: string;
  refused?: boolean;
}

/** Entries hold job data: only the owner may read them. */
const EXPORT_MODE = 0o600;

/** `data` is a job's, for people and other programs; `args` has it as it was accepted. */
type Found = Listed & { replica: string; data?: unknown };

/**
 * Entries in order, one journal after the other; read as they are asked for. What cannot be read is told
 * on stderr, and costs nobody the rest.
 */
function* matching(
  folders: readonly FolderOwner[],
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
      if (filter.jobId !== undefined && !entry.jobId.startsWith(filter.jobId)) continue;
      if (filter.refused && entry.reason === undefined) continue;
      yield { replica, ...entry, ...dataOf(entry) };
    }
  }
}

/** Nothing for an outcome, a flow, and what no job can be made of. */
function dataOf(entry: Listed): { data?: unknown } {
  if (entry.type !== 'job') return {};
  try {
    const { single } = storedJob(entry);
    return single === undefined ? {} : { data: JSON.parse(single.job.data) };
  } catch {
    return {};
  }
}

/** Says of a journal whose it is cannot be told why not. @returns whether that is so */
export function noteUnknown({ replica, lockFault }: FolderOwner): boolean {
  if (lockFault === undefined) return false;
  const text = `${replica}: whether a living process owns it cannot be told, its lock cannot be tried: ${lockFault}`;
  note(plainLine(text));
  return true;
}

function* readable(folder: FolderOwner, onDamage: () => void): Generator<Listed> {
  const { path, replica } = folder;
  let damaged = 0;
  if (noteUnknown(folder)) onDamage();
  const tell = (text: string): void => {
    note(plainLine(`${replica}: ${text}`));
    onDamage();
  };
  try {
    yield* entriesOf(dirname(path), replica, (what) => {
      if (what === 'row') damaged += 1;
      else tell(what.message);
    });
  } catch (error) {
    // Of SQLite and of the system, as for a folder of another user's.
    if (!(error instanceof JournalError) && systemCode(error) === undefined) throw error;
    tell((error as Error).message);
  } finally {
    // Also when no more is asked for.
    if (damaged > 0) tell(`${many(damaged, 'damaged entry')} left out; verify tells more.`);
  }
}

export function list(
  folders: readonly FolderOwner[],
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
  folders: readonly FolderOwner[],
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
  let isWhole = true;
  if (options.output === undefined) isWhole = await writeOut(lines);
  else await (await OutputFile.at(options.output, EXPORT_MODE)).write(lines);
  if (isWhole) note(`${many(count, 'entry')}.`);
  return exit;
}

/** Whether the reader wanted all of it; one that has seen enough (`| head`) is no error. */
async function writeOut(lines: Readable): Promise<boolean> {
  try {
    await pipeline(lines, process.stdout, { end: false });
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EPIPE') throw error;
    return false;
  }
}
