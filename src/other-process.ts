/**
 * What can be told of another process of this machine: whether it lives, and as what it was started. A
 * process id alone proves nothing, for ids are used again.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** True also for a process of somebody else; false for one that ended and was not yet reaped. */
export function isProcessAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  if (process.platform !== 'linux') return true;
  try {
    // `pid (name) state …`; the name may hold anything, so the state is looked for after it.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
  } catch {
    return false;
  }
}

/** What a process was started with; empty when that cannot be told. */
export function commandLine(pid: number): string {
  try {
    // Not `ps`: slim container images have none.
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return execFileSync('ps', ['-ww', '-o', 'args=', '-p', `${pid}`], { encoding: 'utf8' });
  } catch {
    return '';
  }
}
