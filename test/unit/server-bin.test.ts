import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { findRedisServer } from '../../src/redis/server-bin.ts';

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

it('passes over folders and plain files of that name', () => {
  const [first, second] = [folderWith(), folderWith('redis-server')];
  mkdirSync(join(first, 'redis-server'));
  expect(findRedisServer(undefined, [first, second].join(delimiter))).toBe(
    join(second, 'redis-server'),
  );
});
