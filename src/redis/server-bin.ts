/**
 * Where a real redis-server or valkey-server is on this machine: named by the operator, on the
 * PATH, or in the project's own cache. Only looks, and asks for its version; never fetches one and
 * never starts one.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where `npm test` puts a server that it had to fetch without root. */
export const cachedServerPath: string = fileURLToPath(
  new URL('../../.cache/redis/redis-server', import.meta.url),
);

const SERVER_NAMES = ['redis-server', 'valkey-server'];
/** Debian keeps servers where a plain user's PATH may not look. */
const USUAL_FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/opt/homebrew/bin'];

/** Its `--proc-title-template` is how a server is known again. */
const VERSION_MIN = [6, 2] as const;
/** A program that does not tell its version in this time is left as it is, ms. */
const VERSION_WITHIN_MS = 5000;

export interface FoundServer {
  /** Absolute; undefined when there is none that can be used. */
  path: string | undefined;
  /** Those that were passed over, as "path (version)": older than 6.2. */
  tooOld: string[];
}

/**
 * The path of a server, or undefined. `named` is the operator's choice (REDIS_SERVER_BIN): when it
 * is given nothing else is looked at, so that a mistake in it does not pass in silence.
 */
export function findRedisServer(
  named: string | undefined,
  searchPath: string = process.env.PATH ?? '',
): string | undefined {
  return lookForServer(named, searchPath).path;
}

/** As `findRedisServer`, and which were passed over. */
export function lookForServer(
  named: string | undefined,
  searchPath: string = process.env.PATH ?? '',
): FoundServer {
  const tooOld: string[] = [];
  for (const candidate of candidatesFor(named, searchPath)) {
    if (!isExecutable(candidate)) continue;
    const version = oldVersionOf(candidate);
    if (version === undefined) return { path: candidate, tooOld };
    const shown = `${candidate} (${version})`;
    if (!tooOld.includes(shown)) tooOld.push(shown);
  }
  return { path: undefined, tooOld };
}

/** A name without a folder is looked for as a shell does. */
function candidatesFor(named: string | undefined, searchPath: string): string[] {
  if (named?.includes('/')) return [resolve(named)];
  const folders = [
    ...searchPath.split(delimiter).filter((folder) => folder !== ''),
    ...USUAL_FOLDERS,
  ];
  const names = named ? [named] : SERVER_NAMES;
  const found = names.flatMap((name) => folders.map((folder) => resolve(join(folder, name))));
  return named ? found : [...found, cachedServerPath];
}

/** Its version if that is too old; undefined when it is not, or is not told. */
function oldVersionOf(path: string): string | undefined {
  const { stdout } = spawnSync(path, ['--version'], {
    encoding: 'utf8',
    timeout: VERSION_WITHIN_MS,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const told = /\bv=((\d+)\.(\d+)[\w.]*)/.exec(stdout ?? '');
  if (!told) return undefined;
  const [major, minor] = [Number(told[2]), Number(told[3])];
  const isOld = major < VERSION_MIN[0] || (major === VERSION_MIN[0] && minor < VERSION_MIN[1]);
  return isOld ? told[1] : undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
