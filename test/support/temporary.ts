/** All that a run of tests puts into the system's folder for temporary files, in one folder that goes with it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export default function setup(): () => void {
  const before = tmpdir();
  // Short: a socket's path must not have more than 107 characters.
  const folder = mkdtempSync(join(before, 'hf-'));
  // The processes that run the tests, and those that they start, are told so.
  process.env.TMPDIR = folder;
  return () => {
    process.env.TMPDIR = before;
    rmSync(folder, { recursive: true, force: true });
  };
}
