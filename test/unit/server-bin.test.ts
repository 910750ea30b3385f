import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, relative } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { findRedisServer, lookForServer } from '../../src/redis/server-bin.ts';

function folderWith(...names: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-server-bin-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of names) {
    writeFileSync(join(folder, name), '#!/bin/sh\n');
    chmodSync(join(folder, name), 0o755);
  }
  return folder;
}

it('takes the first redis-server of the search path, and valkey-server only without one', () => {
  const [valkey, both] = [folderWith('valkey-server'), folderWith('redis-server', 'valkey-server')];
  const path = [valkey, both].join(delimiter);
  expect(findRedisServer(undefined, path)).toBe(join(both, 'redis-server'));
});

it('takes a named server, and none at all when that one cannot be executed', () => {
  const folder = folderWith('redis-server', 'mine');
  expect(findRedisServer(join(folder, 'mine'), folder)).toBe(join(folder, 'mine'));
  chmodSync(join(folder, 'mine'), 0o644);
  expect(findRedisServer(join(folder, 'missing'), folder)).toBeUndefined();
  mkdirSync(join(folder, 'a-folder'));
  expect(findRedisServer(join(folder, 'a-folder'), folder)).toBeUndefined();
});

function server(folder: string, name: string, says: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\necho '${says}'\n`);
  chmodSync(path, 0o755);
  return path;
}

it('passes over a server that is older than 6.2, and says so', () => {
  const [old, young] = [folderWith(), folderWith()];
  const first = server(old, 'redis-server', 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc');
  const second = server(young, 'redis-server', 'Redis server v=6.2.0 sha=00000000:0');
  const path = [old, young].join(delimiter);
  expect(lookForServer(undefined, path)).toEqual({ path: second, tooOld: [`${first} (6.0.16)`] });
  expect(lookForServer(first, path)).toEqual({ path: undefined, tooOld: [`${first} (6.0.16)`] });
});

it('makes a relative path absolute, and looks for a bare name on the search path', () => {
  const folder = folderWith('mine');
  expect(findRedisServer(relative(process.cwd(), join(folder, 'mine')))).toBe(join(folder, 'mine'));
  expect(findRedisServer('mine', folder)).toBe(join(folder, 'mine'));
});

it('passes over folders and plain files of that name', () => {
  const [first, second] = [folderWith(), folderWith('redis-server')];
  mkdirSync(join(first, 'redis-server'));
  expect(findRedisServer(undefined, [first, second].join(delimiter))).toBe(
    join(second, 'redis-server'),
  );
});
