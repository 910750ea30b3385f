/**
 * Files and folders that a configuration names and that must be there at start: a mistake in such a path
 * would show up only with the first connection or the first job. Looks, keeps nothing.
 */
import { readFileSync, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { ConfigProblem } from './errors.ts';

/** Read again at every connect, so that they are not read with the other settings. */
const READ_LATER = [
  'REDIS_PASSWORD_FILE',
  'REDIS_TLS_CA_FILE',
  'REDIS_TLS_CERT_FILE',
  'REDIS_TLS_KEY_FILE',
];

type Given = ReadonlyMap<string, { text: string }>;

/** The password and the certificates of connections to Redis. */
export function checkFiles(given: Given, problems: ConfigProblem[]): void {
  for (const where of READ_LATER) {
    const path = given.get(where)?.text;
    if (path === undefined) continue;
    try {
      readFileSync(path);
    } catch (error) {
      const allowed = `the file cannot be read (${(error as NodeJS.ErrnoException).code})`;
      problems.push({ where, value: path, allowed });
    }
  }
}

/** Folders that somebody named; a default may be missing where no `faq` worker runs. */
export function checkRoots(
  given: Given,
  roots: readonly string[],
  cwd: string,
  problems: ConfigProblem[],
): void {
  if (!given.has('SOURCES_ROOTS')) return;
  for (const root of roots) {
    const path = isAbsolute(root) ? root : join(cwd, root);
    const info = statSync(path, { throwIfNoEntry: false });
    if (info?.isDirectory()) continue;
    const allowed = `${info ? 'this is no folder' : 'there is no such folder'} (${path})`;
    problems.push({ where: 'SOURCES_ROOTS', value: root, allowed });
  }
}
