/**
 * Packs, installs the tarball in an empty folder as a stranger would, and runs it there. Must leave
 * package.json as it was.
 */

import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

function run(command, args, cwd = '.') {
  const { status, stdout } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: [null, 'pipe', 'inherit'],
  });
  if (status === 0) return stdout;
  // npm runs no `postpack` after a pack that failed.
  spawnSync(process.execPath, ['.ci/package-json.mjs', 'for-developers']);
  process.stderr.write(
    `${stdout}\n${command} ${args[0]} failed in ${resolve(cwd)} (exit code ${status})\n`,
  );
  process.exit(1);
}

const before = readFileSync('package.json', 'utf8');
const destination = resolve('.cache/package');
mkdirSync(destination, { recursive: true });
const [packed] = Object.values(
  JSON.parse(run('npm', ['pack', '--json', '--silent', '--pack-destination', destination])),
);
assert.equal(readFileSync('package.json', 'utf8'), before, 'npm pack changed package.json');

const files = packed.files.map(({ path }) => path);
for (const needed of [
  'dist/cli.js',
  'dist/index.js',
  'dist/index.d.ts',
  'dist/http/pages/status.html',
  'src/bin.mjs',
  'LICENSE',
]) {
  assert(files.includes(needed), `${needed} is missing from the package`);
}
const strays = files.filter((path) => /^(test|bench|\.ci)\/|^src\/(?!bin\.mjs$)/.test(path));
assert.deepEqual(strays, [], 'files that do not belong into the package');

const folder = mkdtempSync(join(tmpdir(), 'holdfast-package-'));
try {
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  run('npm', ['install', '--no-audit', '--no-fund', join(destination, packed.filename)], folder);
  const installed = join(folder, 'node_modules/holdfast/package.json');
  const { dependencies, optionalDependencies, version } = JSON.parse(readFileSync(installed));
  const names = Object.keys({ ...dependencies, ...optionalDependencies });
  assert.deepEqual(
    names.filter((name) => /^node-/.test(name)),
    [],
    'Node must not be a dependency',
  );
  const said = run(join(folder, 'node_modules/.bin/holdfast'), ['--version'], folder).trim();
  assert.match(said, new RegExp(version.replaceAll('.', '\\.')));
  const exported = run(
    process.execPath,
    ['--input-type=module', '-e', "console.log(typeof (await import('holdfast')).defineWorker)"],
    folder,
  );
  assert.equal(exported.trim(), 'function');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`package: ${packed.filename}, ${files.length} files, installs and runs\n`);
