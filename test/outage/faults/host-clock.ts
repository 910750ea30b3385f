/**
 * A host whose wall clock jumps: libfaketime between the worker and the kernel where it is installed
 * (`apt-get install faketime`), so that native code and threads see it too; else a shift of JavaScript's
 * own clock. The monotonic clock goes on either way.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const LIBRARY = ['x86_64', 'aarch64']
  .map((cpu) => `/usr/lib/${cpu}-linux-gnu/faketime/libfaketime.so.1`)
  .find((path) => existsSync(path));

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
