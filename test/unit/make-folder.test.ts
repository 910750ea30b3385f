/** Folders that are made with those above them. */
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder } from '../../src/make-folder.ts';
import { journalFolder } from '../support/journal-folder.ts';

it('makes what is missing, for nobody else to enter, and leaves what is there', async () => {
  const base = await journalFolder();
  const path = join(base, 'a', 'b', 'c');
  makeFolder(path, 0o700);
  makeFolder(path, 0o700);
  for (const folder of [path, join(base, 'a')]) expect(statSync(folder).mode & 0o777).toBe(0o700);
});

it('fails at once where nothing can be made, also below /proc', async () => {
  expect(() => makeFolder('/proc/holdfast/a/b', 0o700)).toThrow('ENOENT');
  const file = join(await journalFolder(), 'file');
  writeFileSync(file, '');
  expect(() => makeFolder(file, 0o700)).toThrow('EEXIST');
  expect(() => makeFolder(join(file, 'a'), 0o700)).toThrow('ENOTDIR');
});
