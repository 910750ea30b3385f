import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder and those above it that are not there.
 * Not by `mkdirSync`'s own `recursive`, which never ends below /proc (Node 24): it takes ENOENT for a parent
 * that is missing, makes that, and tries again.
 * @returns whether it was not there before
 * @throws what the system says
 */
export function makeFolder(path: string, mode: number): boolean {
  const parent = dirname(path);
  if (parent !== path && !existsSync(parent)) makeFolder(parent, mode);
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code === 'EEXIST';
    if (!isThere || !statSync(path).isDirectory()) throw error;
    return false;
  }
}
