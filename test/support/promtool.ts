/** Prometheus' own promtool: from PATH, or out of Debian's package. */
import { spawnSync } from 'node:child_process';
import { fetchFromDebian } from './debian-package.ts';

/** @throws what to do where there is none and none can be fetched */
export function promtool(): string {
  if (spawnSync('promtool', ['--version'], { stdio: 'ignore' }).status === 0) return 'promtool';
  try {
    return fetchFromDebian('prometheus', 'usr/bin/promtool');
  } catch (cause) {
    throw new Error(
      'The alert rules cannot be tested: there is no promtool, and Debian’s package cannot be fetched (apt-get as root). Install Prometheus (`apt-get install prometheus`, `brew install prometheus`).',
      { cause },
    );
  }
}
