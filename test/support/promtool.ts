/**
 * Prometheus' own promtool: from PATH, or out of Debian's package, which is unpacked into the
 * project's cache and not installed, so that no Prometheus starts on the machine.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../../.cache/promtool', import.meta.url));
const CACHED = join(FOLDER, 'promtool');

/** @throws what to do where there is none and none can be fetched */
export function promtool(): string {
  const found = ['promtool', CACHED].find(
    (path) => spawnSync(path, ['--version'], { stdio: 'ignore' }).status === 0,
  );
  if (found !== undefined) return found;
  fetchPromtool();
  return CACHED;
}

function fetchPromtool(): void {
  mkdirSync(FOLDER, { recursive: true });
  const run = (command: string, args: readonly string[]) =>
    execFileSync(command, args, { cwd: FOLDER, stdio: 'pipe' });
  const own = ['-qq', '-o', 'APT::Sandbox::User='];
  try {
    try {
      run('apt-get', [...own, 'download', 'prometheus']);
    } catch {
      // A machine that has just been made has no package lists, or old ones.
      run('apt-get', [...own, 'update']);
      run('apt-get', [...own, 'download', 'prometheus']);
    }
    const archive = readdirSync(FOLDER).find((file) => file.endsWith('.deb')) ?? '';
    run('dpkg-deb', ['-x', archive, 'root']);
    renameSync(join(FOLDER, 'root', 'usr', 'bin', 'promtool'), CACHED);
    // The server is half of the package, and not wanted.
    rmSync(join(FOLDER, 'root'), { recursive: true, force: true });
    rmSync(join(FOLDER, archive));
  } catch (cause) {
    if (existsSync(CACHED)) return;
    throw new Error(
      'The alert rules cannot be tested: there is no promtool, and Debian’s package cannot be fetched (apt-get as root). Install Prometheus (`apt-get install prometheus`, `brew install prometheus`).',
      { cause },
    );
  }
}
