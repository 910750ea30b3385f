/** Before the tests of this tier: a tmux, found or installed as the platform provides it. */
import { spawnSync } from 'node:child_process';

export default function setup(): void {
  if (hasTmux()) return;
  if (has('apt-get') && process.getuid?.() === 0) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const apt = (...args: string[]) => spawnSync('apt-get', ['-qq', ...args], { env });
    apt('update');
    apt('-y', '--no-install-recommends', 'install', 'tmux');
  } else if (has('brew')) {
    spawnSync('brew', ['install', 'tmux']);
  }
  if (hasTmux()) return;
  throw new Error(
    'The tests of the terminal need tmux: install it (apt-get install tmux) as root.',
  );
}

function hasTmux(): boolean {
  return spawnSync('tmux', ['-V']).status === 0;
}

function has(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;
}
