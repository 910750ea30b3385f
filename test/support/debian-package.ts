/**
 * A file out of one of Debian's packages, unpacked into the project's cache: nothing is installed, and no
 * service starts.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where the file is once it was fetched. */
export function cachedPath(path: string): string {
  const name = basename(path);
  return fileURLToPath(new URL(`../../.cache/${name}/${name}`, import.meta.url));
}

/**
 * Fetches it unless it is there. `path` is the file's in the package.
 * @throws what apt-get or dpkg-deb say, also where there is none
 */
export function fetchFromDebian(packageName: string, path: string): string {
  const cached = cachedPath(path);
  if (existsSync(cached)) return cached;
  const folder = join(cached, '..');
  mkdirSync(folder, { recursive: true });
  const run = (command: string, args: readonly string[]) =>
    execFileSync(command, args, { cwd: folder, stdio: 'pipe' });
  const own = ['-qq', '-o', 'APT::Sandbox::User='];
  try {
    run('apt-get', [...own, 'download', packageName]);
  } catch {
    // A machine that has just been made has no package lists, or old ones.
    run('apt-get', [...own, 'update']);
    run('apt-get', [...own, 'download', packageName]);
  }
  const archive = readdirSync(folder).find((file) => file.endsWith('.deb')) ?? '';
  run('dpkg-deb', ['-x', archive, 'root']);
  renameSync(join(folder, 'root', path), cached);
  // The rest of the package is not wanted.
  rmSync(join(folder, 'root'), { recursive: true, force: true });
  rmSync(join(folder, archive));
  return cached;
}
