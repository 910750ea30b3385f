/**
 * A host whose wall clock jumps: libfaketime between the worker and the kernel where it is installed or
 * Debian's package can be fetched, so that native code and threads see it too; else a shift of
 * JavaScript's own clock. The monotonic clock goes on either way.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cachedPath, fetchFromDebian } from '../../support/debian-package.ts';

const CPU = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
const PATH_IN_PACKAGE = `usr/lib/${CPU}-linux-gnu/faketime/libfaketime.so.1`;
const LIBRARY = [`/${PATH_IN_PACKAGE}`, cachedPath(PATH_IN_PACKAGE)].find((path) =>
  existsSync(path),
);

/** Before the rows: sees to it that the library is there, if it can be had. */
export function fetchFaketime(): void {
  if (LIBRARY) return;
  try {
    fetchFromDebian('libfaketime', PATH_IN_PACKAGE);
  } catch {
    // The rows say by what the clock was set.
  }
}

/** How the clock is set here, for the row to say. */
export const CLOCK_BY = LIBRARY ? 'libfaketime' : "JavaScript's clock only: no libfaketime";

/** Sets the clock of the workers of a world by so many seconds. */
export function setClock(dir: string, aheadSeconds: number): void {
  writeFileSync(join(dir, 'clock'), `${aheadSeconds < 0 ? '' : '+'}${aheadSeconds}`);
}

/** What a worker is started with so that its clock can be set. */
export function clockHooks(dir: string): { imports: string[]; env: Record<string, string> } {
  if (!LIBRARY) return { imports: ['clock.ts'], env: {} };
  setClock(dir, 0);
  return {
    imports: [],
    env: {
      LD_PRELOAD: LIBRARY,
      FAKETIME_TIMESTAMP_FILE: join(dir, 'clock'),
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
  };
}
