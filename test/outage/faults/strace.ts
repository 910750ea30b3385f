/**
 * The tracer that makes writes of a living process fail. Where it is not installed, and may be, it is
 * before the tests: a machine that has just been made has none.
 */
import { execFileSync, spawnSync } from 'node:child_process';

export const hasStrace = (): boolean => spawnSync('strace', ['-V']).status === 0;

/** As root on Debian, once; elsewhere the test that needs it does not run. */
export function installStrace(): void {
  if (hasStrace() || process.getuid?.() !== 0) return;
  const apt = (...args: string[]) =>
    execFileSync('apt-get', ['-qq', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: 'ignore',
    });
  try {
    apt('update');
    apt('-y', 'install', '--no-install-recommends', 'strace');
  } catch {
    // No apt-get, or nothing that it reaches.
  }
}
