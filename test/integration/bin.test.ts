import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startRedis } from '../support/redis-server.ts';

const bin = fileURLToPath(new URL('../../src/bin.mjs', import.meta.url));

/** A folder with a package that has our bin and these files. */
function packageWith(files: Record<string, string>, folder = temporaryFolder()): string {
  const all = { 'package.json': '{ "type": "module" }', ...files };
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  mkdirSync(join(folder, 'src'), { recursive: true });
  cpSync(bin, join(folder, 'src/bin.mjs'));
  return folder;
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-bin-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

interface Pretence {
  /** What the first process takes for its own version and platform; its child sees the truth. */
  node?: string;
  platform?: string;
}

function start(folder: string, args: string[] = [], pretence: Pretence = {}) {
  const preload = join(folder, 'pretend.cjs');
  const { node = process.versions.node, platform = process.platform } = pretence;
  writeFileSync(
    preload,
    `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${node}' } });
     Object.defineProperty(process, 'platform', { value: '${platform}' });`,
  );
  const child = spawn(process.execPath, ['--require', preload, 'src/bin.mjs', ...args], {
    cwd: folder,
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const output = { out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    output.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    output.err += chunk;
  });
  const ended = once(child, 'close').then(([code, signal]) => ({ ...output, code, signal }));
  return { child, ended };
}

/** Puts the running Node where the platform package would have it. */
function bringNodeAlong(folder: string): void {
  const at = join(folder, `node_modules/node-${process.platform}-${process.arch}/bin`);
  mkdirSync(at, { recursive: true });
  symlinkSync(process.execPath, join(at, 'node'));
}

const echo = `export async function main(argv) {
  console.log(process.versions.node, argv.join());
  process.exitCode = 7;
}`;

describe('the bin', () => {
  it('runs the sources in a clone and the build in a package', async () => {
    const clone = packageWith({ 'src/cli.ts': echo, 'dist/cli.js': 'throw 1' });
    expect(await start(clone, ['a', 'b']).ended).toMatchObject({
      out: `${process.versions.node} a,b\n`,
      code: 7,
    });
    const installed = packageWith({ 'dist/cli.js': echo });
    expect(await start(installed, ['c']).ended).toMatchObject({
      out: `${process.versions.node} c\n`,
      code: 7,
    });
  });

  it('hands over to the Node that a folder above has when it is too old itself', async () => {
    const project = temporaryFolder();
    bringNodeAlong(project);
    const installed = packageWith({ 'dist/cli.js': echo }, join(project, 'node_modules/holdfast'));
    expect(await start(installed, ['a'], { node: '14.21.3' }).ended).toMatchObject({
      out: `${process.versions.node} a\n`,
      code: 7,
    });
  });

  it('passes signals on and ends as the other Node did', async () => {
    const folder = packageWith({
      'src/cli.ts': `export async function main(argv) {
        if (argv[0] === 'gracefully') process.on('SIGTERM', () => process.exit(5));
        setInterval(() => {}, 1000);
        console.log('up');
      }`,
    });
    bringNodeAlong(folder);
    for (const [how, end] of [
      ['gracefully', { code: 5, signal: null }],
      ['at-once', { code: null, signal: 'SIGTERM' }],
    ] as const) {
      const { child, ended } = start(folder, [how], { node: '20.0.0' });
      await once(child.stdout, 'data');
      child.kill('SIGTERM');
      expect(await ended).toMatchObject(end);
    }
  });

  it('ends the other Node as if it had been told to when it is killed itself', async () => {
    const folder = packageWith({
      'src/cli.ts': `export async function main() {
        process.on('SIGTERM', () => {
          console.log('told to end');
          process.exit();
        });
        setInterval(() => {}, 1000);
        console.log('up');
      }`,
    });
    bringNodeAlong(folder);
    const { child, ended } = start(folder, [], { node: '20.0.0' });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    // Its output ends with the last process that holds it.
    expect(await ended).toMatchObject({ out: 'up\ntold to end\n', signal: 'SIGKILL' });
  });

  it('leaves nothing of the handing over to the processes of the other Node', async () => {
    const folder = packageWith({
      'src/cli.ts': `export async function main() {
        console.log(Object.keys(process.env).filter((name) => name.includes('HANDED')).length);
      }`,
    });
    bringNodeAlong(folder);
    expect(await start(folder, [], { node: '20.0.0' }).ended).toMatchObject({
      out: '0\n',
      code: 0,
    });
  });

  it('says in one line how to get a Node when there is none', async () => {
    const folder = packageWith({ 'src/cli.ts': echo });
    const { out, err, code } = await start(folder, [], { node: '20.0.0' }).ended;
    expect({ out, code }).toEqual({ out: '', code: 78 });
    expect(err).toMatch(
      /^Holdfast needs Node 24 or later, this is 20\.0\.0: .*nvm install 24.*\n$/,
    );
  });

  it('points to WSL2 on Windows', async () => {
    const folder = packageWith({ 'src/cli.ts': echo });
    const { err, code } = await start(folder, [], { platform: 'win32' }).ended;
    expect(err).toMatch(/^[^\n]*WSL2[^\n]*\n$/);
    expect(code).toBe(78);
  });

  it('makes `holdfast` mean this installation for a worker file anywhere', async () => {
    const worker = join(temporaryFolder(), 'worker.mjs');
    writeFileSync(
      worker,
      "import { which } from 'holdfast'; import { what } from 'holdfast/testing'; console.log(which, what);",
    );
    const folder = packageWith({
      'src/cli.ts': 'export const main = ([worker]: string[]) => import(worker ?? "");',
      'src/index.ts': 'export const which: string = "this one";',
      'src/testing.ts': 'export const what: string = "testing";',
    });
    expect(await start(folder, [worker]).ended).toMatchObject({
      out: 'this one testing\n',
      code: 0,
    });
  });

  it('has the workers that come along for a worker file anywhere, in a clone and in a package', async () => {
    const worker = join(temporaryFolder(), 'worker.mjs');
    writeFileSync(worker, "import which from 'holdfast/workers/webhook'; console.log(which);");
    const missing = join(temporaryFolder(), 'worker.mjs');
    writeFileSync(missing, "import 'holdfast/workers/none';");
    const main = 'export const main = ([worker]) => import(worker);';
    const clone = packageWith({
      'src/cli.ts': main.replace('[worker]', '[worker]: string[]').replace('(worker)', '(worker!)'),
      'workers/webhook.ts': "export default 'a clone' satisfies string;",
    });
    const installed = packageWith({
      'dist/cli.js': main,
      'dist/workers/webhook.js': "export default 'a package';",
    });
    expect(await start(clone, [worker]).ended).toMatchObject({ out: 'a clone\n', code: 0 });
    expect(await start(installed, [worker]).ended).toMatchObject({ out: 'a package\n', code: 0 });
    expect(await start(installed, [missing]).ended).toMatchObject({
      err: expect.stringMatching(/Cannot find package 'holdfast'/),
      code: 1,
    });
  });
});

it('npm start passes SIGTERM on to the service, which stops gracefully', async () => {
  const redis = await startRedis();
  const dataDir = temporaryFolder();
  const npm = spawn('npm', ['start', '--silent'], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: {
      ...process.env,
      ...{ REDIS_URL: redis.url, DATA_DIR: dataDir, CONFIG_DIR: dataDir, HTTP_PORT: '0' },
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: { event?: string }[] = [];
  const waiting = createInterface({ input: npm.stdout });
  waiting.on('line', (line) => lines.push(JSON.parse(line)));
  const said = () => lines.map(({ event }) => event);
  await expect.poll(said).toContain('service.started');
  npm.kill('SIGTERM');
  // Its output ends with the last process that holds it: the service.
  await once(waiting, 'close');
  expect(said().at(-1)).toBe('service.stopped');
});
