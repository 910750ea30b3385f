/**
 * Where a real redis-server or valkey-server is on this machine: named by the operator, on the
 * PATH, or in the project's own cache. Only looks; never fetches one and never starts one.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where `npm test` puts a server that it had to fetch without root. */
export const cachedServerPath: string = fileURLToPath(
  new URL('../../.cache/redis/redis-server', import.meta.url),
);

const SERVER_NAMES = ['redis-server', 'valkey-server'];
/** Debian keeps servers where a plain user's PATH may not look. */
const USUAL_FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/opt/homebrew/bin'];

/**
 * The path of a server, or undefined. `named` is the operator's choice (REDIS_SERVER_BIN): when it
 * is given nothing else is looked at, so that a mistake in it does not pass in silence.
 */
export function findRedisServer(
  named: string | undefined,
  searchPath: string = process.env.PATH ?? '',
): string | undefined {
  if (named) return isExecutable(named) ? named : undefined;
  const folders = [
    ...searchPath.split(delimiter).filter((folder) => folder !== ''),
    ...USUAL_FOLDERS,
  ];
  const candidates = SERVER_NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  return [...candidates, cachedServerPath].find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
