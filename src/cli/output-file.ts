/**
 * The file that `--output` names. A regular file comes about whole or not at all: a reader never sees half
 * of it, an earlier one stays until then. What is no file (a device, a pipe) is written to as it is.
 */
import { randomUUID } from 'node:crypto';
import { createWriteStream, fstatSync, type Stats } from 'node:fs';
import {
  access,
  constants,
  lstat,
  open,
  readlink,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { InvalidInputError } from '../errors.ts';

/** As many symbolic links as Linux follows. */
const LINKS_MAX = 40;
const FILE_MODE = 0o666;
const PERMISSIONS = 0o777;

export class OutputFile {
  readonly #path: string;
  /** What is replaced whole; undefined: the path is written to directly. */
  readonly #replaced: string | undefined;
  readonly #mode: number;

  private constructor(path: string, replaced: string | undefined, mode: number) {
    this.#path = path;
    this.#replaced = replaced;
    this.#mode = mode;
  }

  /**
   * Looks at what stands there, before anything is done that would be lost afterwards.
   * `mode`: of a file that is made; default as the one that it replaces, else by the umask.
   * @throws InvalidInputError for a folder, and for what cannot be written
   */
  static async at(path: string, mode?: number): Promise<OutputFile> {
    try {
      const present = await statIfThere(path);
      if (present?.isDirectory()) throw unwritable(path, 'is a folder');
      if (present !== undefined && (!present.isFile() || isStdout(present))) {
        await access(path, constants.W_OK);
        return new OutputFile(path, undefined, FILE_MODE);
      }
      const replaced = await target(resolve(path), LINKS_MAX);
      await access(dirname(replaced), constants.W_OK);
      const kept = present === undefined ? FILE_MODE : present.mode & PERMISSIONS;
      return new OutputFile(path, replaced, mode ?? kept);
    } catch (error) {
      throw told(path, error);
    }
  }

  /** @throws InvalidInputError if it cannot be written; then nothing of it is left, and what `content` throws */
  async write(content: string | Readable): Promise<void> {
    const source = typeof content === 'string' ? Readable.from([content]) : content;
    try {
      if (this.#replaced === undefined) await this.#writeInto(source);
      else await this.#replace(this.#replaced, source);
    } catch (error) {
      throw told(this.#path, error);
    }
  }

  async #writeInto(source: Readable): Promise<void> {
    const present = await stat(this.#path);
    // Through the stream that is there: a socket cannot be opened, and opening empties a file.
    if (isStdout(present)) return await pipeline(source, process.stdout, { end: false });
    const file = await open(this.#path, constants.O_WRONLY);
    await pipeline(source, file.createWriteStream());
  }

  async #replace(path: string, source: Readable): Promise<void> {
    const partial = `${path}.${randomUUID()}.part`;
    try {
      await pipeline(source, createWriteStream(partial, { flags: 'wx', mode: this.#mode }));
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
  }
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** `/dev/stdout`, by whatever name. */
function isStdout({ dev, ino }: Stats): boolean {
  const stdout = fstatSync(process.stdout.fd);
  return stdout.dev === dev && stdout.ino === ino;
}

/** Where the last link leads, also when nothing is there yet. */
async function target(path: string, linksLeft: number): Promise<string> {
  const inFolder = join(await realpath(dirname(path)), basename(path));
  const present = await lstat(inFolder).catch(() => undefined);
  if (!present?.isSymbolicLink()) return inFolder;
  if (linksLeft === 0) throw Object.assign(new Error('too many links'), { code: 'ELOOP' });
  return await target(resolve(dirname(inFolder), await readlink(inFolder)), linksLeft - 1);
}

function told(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string' || !/^E[A-Z]+$/.test(code)) return error;
  return unwritable(path, `cannot be written (${code})`, error);
}

function unwritable(path: string, what: string, cause?: unknown): InvalidInputError {
  return new InvalidInputError('--output', `${path} ${what}`, 'Name another.', { cause });
}
