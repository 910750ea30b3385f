import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { expect, it, onTestFinished } from 'vitest';
import { OutputFile } from '../../src/cli/output-file.ts';

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-test-output-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function write(path: string, text: string): Promise<void> {
  await (await OutputFile.at(path)).write(text);
}

it('makes a file, or replaces one and keeps who may read it', async () => {
  const dir = folder();
  const path = join(dir, 'answer.md');
  await write(path, 'one');
  chmodSync(path, 0o600);
  await write(path, 'two');
  expect(readFileSync(path, 'utf8')).toBe('two');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(dir)).toEqual(['answer.md']);
});

it('replaces what a link leads to, and leaves the link', async () => {
  const dir = folder();
  mkdirSync(join(dir, 'far'));
  writeFileSync(join(dir, 'far/real.txt'), 'old');
  symlinkSync('far/real.txt', join(dir, 'link'));
  symlinkSync('far/new.txt', join(dir, 'dangling'));
  await write(join(dir, 'link'), 'new');
  await write(join(dir, 'dangling'), 'made');
  expect(readFileSync(join(dir, 'far/real.txt'), 'utf8')).toBe('new');
  expect(readFileSync(join(dir, 'far/new.txt'), 'utf8')).toBe('made');
  expect(lstatSync(join(dir, 'link')).isSymbolicLink()).toBe(true);
  expect(lstatSync(join(dir, 'dangling')).isSymbolicLink()).toBe(true);
  symlinkSync('loop', join(dir, 'loop'));
  await expect(OutputFile.at(join(dir, 'loop'))).rejects.toThrow(
    /loop cannot be written \(ELOOP\)/,
  );
});

it('writes into a pipe or a device and leaves it what it is', async () => {
  const pipe = join(folder(), 'pipe');
  execFileSync('mkfifo', [pipe]);
  const read = readFile(pipe, 'utf8');
  await write(pipe, 'through');
  expect(await read).toBe('through');
  expect(lstatSync(pipe).isFIFO()).toBe(true);
  await write('/dev/null', 'away');
  expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
});

it('refuses a folder at once', async () => {
  const dir = folder();
  await expect(OutputFile.at(dir)).rejects.toMatchObject({
    code: 'HOLDFAST_INPUT_INVALID',
    message: `--output ${dir} is a folder. Name another.`,
  });
  await expect(OutputFile.at(join(dir, 'none/file'))).rejects.toThrow(
    /cannot be written \(ENOENT\)/,
  );
});

it('leaves nothing behind when it fails, and passes on why', async () => {
  const dir = folder();
  const file = await OutputFile.at(join(dir, 'a'));
  async function* broken() {
    yield 'half';
    throw new RangeError('the source broke');
  }
  await expect(file.write(Readable.from(broken()))).rejects.toThrow(RangeError);
  expect(readdirSync(dir)).toEqual([]);
  // A folder that came meanwhile.
  mkdirSync(join(dir, 'a'));
  await expect(file.write('text')).rejects.toThrow(/--output .*a cannot be written \(EISDIR\)/);
  expect(readdirSync(dir)).toEqual(['a']);
});
