/**
 * Reads the workers folder: every handler file is imported and checked, and all that is wrong is told
 * at once, with file, line and remedy. A service with a broken handler does not start.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { HandlerFileError, HandlerFilesError } from '../errors.ts';
import type { WorkerDefinition } from './definition.ts';
import { type DefinitionProblem, problemsOf } from './definition-schema.ts';
import { type ImportOptions, importFile } from './import-file.ts';

export interface LoadedWorker {
  /** Absolute path. */
  file: string;
  definition: WorkerDefinition;
}

/** Loads all handlers of a folder. @throws HandlerFileError, HandlerFilesError */
export async function loadWorkers(
  folder: string,
  options: ImportOptions = {},
): Promise<LoadedWorker[]> {
  const files = await handlerFiles(resolve(folder));
  const loaded: LoadedWorker[] = [];
  const errors: HandlerFileError[] = [];
  // One after the other: files that print or fail while they load do so in a readable order.
  for (const file of files) {
    try {
      loaded.push({ file, definition: await loadWorker(file, options) });
    } catch (error) {
      if (error instanceof HandlerFileError) errors.push(error);
      else if (error instanceof HandlerFilesError) errors.push(...error.errors);
      else throw error;
    }
  }
  errors.push(...(await doubles(loaded)));
  throwAll(errors);
  return loaded;
}

/** The handler files of a folder, sorted: no tests, no hidden files, no type declarations. */
async function handlerFiles(folder: string): Promise<string[]> {
  let entries: Awaited<ReturnType<typeof readFolder>>;
  try {
    entries = await readFolder(folder);
  } catch (error) {
    throw new HandlerFileError(
      folder,
      `the workers folder cannot be read (${(error as NodeJS.ErrnoException).code}).`,
      'Create it, or set WORKERS_DIR to the folder of your handlers.',
      { cause: error },
    );
  }
  return entries
    .filter((entry) => !entry.isDirectory() && isHandlerFile(entry.name))
    .map(({ name }) => join(folder, name))
    .sort();
}

const readFolder = (folder: string) => readdir(folder, { withFileTypes: true });

function isHandlerFile(name: string): boolean {
  return (
    /\.(?:ts|js|mjs)$/.test(name) &&
    !name.startsWith('.') &&
    !/\.d\.ts$/.test(name) &&
    !/[.-](?:test|spec)\.[a-z]+$/.test(name)
  );
}

async function loadWorker(file: string, options: ImportOptions): Promise<WorkerDefinition> {
  const module = await importFile(file, options);
  if (module.default === undefined) {
    throw new HandlerFileError(
      file,
      'has no default export.',
      'End it with `export default defineWorker({ queue, handler })`, or move it out of the folder.',
    );
  }
  const problems = problemsOf(module.default);
  if (problems.length > 0) throwAll(await inFile(file, problems));
  return module.default as WorkerDefinition;
}

async function inFile(file: string, problems: DefinitionProblem[]): Promise<HandlerFileError[]> {
  const source = await sourceOf(file);
  return problems.map(({ option, what, remedy }) => {
    const line = lineOf(source, option.split('.').at(-1) ?? '');
    return new HandlerFileError(
      line === undefined ? file : `${file}:${line}`,
      option === '' ? `${what}.` : `"${option}" ${what}.`,
      remedy,
      { data: { option, ...(line === undefined ? {} : { line }) } },
    );
  });
}

async function doubles(loaded: readonly LoadedWorker[]): Promise<HandlerFileError[]> {
  const first = new Map<string, LoadedWorker>();
  const errors: HandlerFileError[] = [];
  for (const worker of loaded) {
    const { queue } = worker.definition;
    const other = first.get(queue);
    if (other === undefined) {
      first.set(queue, worker);
      continue;
    }
    const line = lineOf(await sourceOf(worker.file), 'queue');
    errors.push(
      new HandlerFileError(
        line === undefined ? worker.file : `${worker.file}:${line}`,
        `handles queue "${queue}", which ${other.file} handles already.`,
        'Give one of them another queue, or put both into one file with `handlers: { [jobName]: … }`.',
        { data: { queue, other: other.file } },
      ),
    );
  }
  return errors;
}

/** The line that sets an option, by its text: good enough for a person, and only for them. */
function lineOf(source: string, option: string): number | undefined {
  if (!/^\w+$/.test(option)) return undefined;
  const found = new RegExp(`(?<![\\w.])["']?${option}["']?\\s*[:(,]`).exec(source);
  return found ? source.slice(0, found.index).split('\n').length : undefined;
}

async function sourceOf(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch(() => '');
}

function throwAll(errors: readonly HandlerFileError[]): void {
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new HandlerFilesError(errors);
}
