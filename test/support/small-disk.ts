/** A small disk of its own, for claims about full ones. It needs the right to mount. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

/** Takes all space that is left, as a log file would; returns the file. */
export function fillUp(dir: string): string {
  const filler = join(dir, 'filler');
  for (const bytes of [65_536, 4_096]) {
    try {
      for (;;) writeFileSync(filler, Buffer.alloc(bytes), { flag: 'a' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
  return filler;
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
