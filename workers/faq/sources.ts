/**
 * The texts that a question may be answered from. Whether a path lies inside the allowed roots is
 * decided after links are resolved, for the path that was asked for and for every file below it.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, join, relative, resolve, sep } from 'node:path';

export interface SourceFile {
  /** As people would name it: from the root's own folder on. */
  file: string;
  text: string;
}

export interface Sources {
  files: SourceFile[];
  /** What was left out, as sentences. */
  notes: string[];
}

/** The path that was asked for is none that may be read. */
export class SourceRefused extends Error {}

const FILES_MAX = 500;
const FILE_BYTES_MAX = 1024 * 1024;
const BYTES_MAX = 16 * 1024 * 1024;
const DEPTH_MAX = 8;
const TEXT = /\.(md|markdown|txt|rst)$/i;

/** @throws SourceRefused when the path is missing or leaves the roots */
export async function readSources(roots: readonly string[], asked?: string): Promise<Sources> {
  const resolved = await Promise.all(roots.map((root) => realpath(root).catch(() => undefined)));
  const real = resolved.filter((root) => root !== undefined);
  const missing = roots.filter((_root, i) => resolved[i] === undefined);
  if (real.length === 0) {
    throw new SourceRefused(
      `None of the folders in SOURCES_ROOTS exists (${roots.join(', ')}). Set it to folders with texts.`,
    );
  }
  const starts = asked === undefined ? real : [await allowed(asked, roots, real)];
  const reader = new Reader(real);
  for (const root of missing) reader.sources.notes.push(`${basename(root)} is not there any more.`);
  for (const start of starts) await reader.read(start, 0);
  return reader.sources;
}

/** The real path of what was asked for: relative to the working folder, or to a root. */
async function allowed(
  asked: string,
  roots: readonly string[],
  real: readonly string[],
): Promise<string> {
  const candidates = [resolve(asked), ...roots.map((root) => resolve(root, asked))];
  let isThere = false;
  for (const candidate of candidates) {
    const path = await realpath(candidate).catch(() => undefined);
    if (path === undefined) continue;
    isThere = true;
    if (real.some((root) => isInside(root, path))) return path;
  }
  throw new SourceRefused(
    isThere
      ? `"${asked}" lies outside of SOURCES_ROOTS (${roots.join(', ')}).`
      : `"${asked}" does not exist in SOURCES_ROOTS (${roots.join(', ')}).`,
  );
}

function isInside(root: string, path: string): boolean {
  return path === root || path.startsWith(root + sep);
}

class Reader {
  readonly sources: Sources = { files: [], notes: [] };
  readonly #roots: readonly string[];
  readonly #seen = new Set<string>();
  #bytes = 0;
  #isFull = false;

  constructor(roots: readonly string[]) {
    this.#roots = roots;
  }

  async read(path: string, depth: number): Promise<void> {
    const real = await realpath(path).catch(() => undefined);
    const root = real && this.#roots.find((candidate) => isInside(candidate, real));
    if (!real || !root || this.#seen.has(real) || this.#isFull || depth > DEPTH_MAX) return;
    this.#seen.add(real);
    const info = await stat(real);
    if (info.isDirectory()) {
      for (const name of (await readdir(real)).sort()) {
        if (name.startsWith('.') || name === 'node_modules') continue;
        await this.read(join(real, name), depth + 1);
      }
    } else if (info.isFile() && TEXT.test(real)) {
      await this.#take(real, root, info.size);
    }
  }

  async #take(path: string, root: string, bytes: number): Promise<void> {
    const file = join(relative(join(root, '..'), path));
    if (bytes > FILE_BYTES_MAX) {
      this.sources.notes.push(`${file} was left out: larger than ${FILE_BYTES_MAX} bytes.`);
      return;
    }
    if (this.sources.files.length >= FILES_MAX || this.#bytes + bytes > BYTES_MAX) {
      this.#isFull = true;
      this.sources.notes.push(
        `Not everything was read: ${FILES_MAX} files or ${BYTES_MAX} bytes are the limit.`,
      );
      return;
    }
    this.#bytes += bytes;
    this.sources.files.push({ file, text: await readFile(path, 'utf8') });
  }
}
