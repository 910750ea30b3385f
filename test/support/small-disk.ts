/** A small disk of its own, for claims about full ones. It needs the right to mount. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SmallDisk {
  dir: string;
  end(): void;
}

/** `size` as `mount` takes it: 16m. @throws when this process may not mount */
export function mountSmall(size: string): SmallDisk {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', dir], { stdio: 'ignore' });
  } catch (error) {
    rmSync(dir, { recursive: true });
    throw error;
  }
  return {
    dir,
    end() {
      execFileSync('umount', ['--lazy', dir]);
      rmSync(dir, { recursive: true });
    },
  };
}

/** Without that right the claims about full disks are not tried. */
export const canMount = process.platform === 'linux' && process.getuid?.() === 0 && tryMount();

function tryMount(): boolean {
  try {
    mountSmall('1m').end();
    return true;
  } catch {
    return false;
  }
}
