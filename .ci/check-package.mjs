/**
 * Packs, installs the tarball as a stranger would, and goes the README's way with it: a handler with a
 * package of its own, a job, a result; an app that embeds the service; types that a compiler believes.
 * Must leave package.json as it was.
 */

import { strict as assert } from 'node:assert';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

/** Installing and starting take seconds; nothing here waits longer for anything, ms. */
const WAIT_MS = 60_000;

function run(command, args, cwd = '.', env = process.env) {
  const { status, stdout } = spawnSync(command, args, {
    cwd,
    env,
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
  'dist/workers/webhook.js',
  'dist/workers/webhook.d.ts',
  'src/bin.mjs',
  'LICENSE',
]) {
  assert(files.includes(needed), `${needed} is missing from the package`);
}
const strays = files.filter((path) => /^(test|bench|\.ci)\/|^src\/(?!bin\.mjs$)/.test(path));
assert.deepEqual(strays, [], 'files that do not belong into the package');

const folder = mkdtempSync(join(tmpdir(), 'holdfast-package-'));
/** Settings of a stranger: none but that nothing is in the way of others on this machine. */
const env = { ...process.env, HTTP_PORT: '0', LOG_FORMAT: 'json' };
for (const name of ['REDIS_URL', 'NODE_ENV', 'DATA_DIR']) delete env[name];
const write = (name, text) => writeFileSync(join(folder, name), text);
try {
  run('npm', ['init', '-y'], folder);
  run(
    'npm',
    ['install', '--no-audit', '--no-fund', join(destination, packed.filename), 'slugify'],
    folder,
  );
  const installed = join(folder, 'node_modules/holdfast/package.json');
  const { dependencies, optionalDependencies, version } = JSON.parse(readFileSync(installed));
  const names = Object.keys({ ...dependencies, ...optionalDependencies });
  assert.deepEqual(
    names.filter((name) => /^node-/.test(name)),
    [],
    'Node must not be a dependency',
  );
  const said = run(bin(), ['--version'], folder).trim();
  assert.match(said, new RegExp(version.replaceAll('.', '\\.')));
  checkTypes();
  await checkReadme();
  await checkApp();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`package: ${packed.filename}, ${files.length} files, installs and runs\n`);

function bin() {
  return join(folder, 'node_modules/.bin/holdfast');
}

/** Declarations that import what is not installed would be `any`, and no mistake would be seen. */
function checkTypes() {
  write(
    'consumer.mts',
    `import { createClient, createService, defineQueue, defineWorker, type Config } from 'holdfast';
import { runHandler } from 'holdfast/testing';
import webhook from 'holdfast/workers/webhook';
import { z } from 'zod';

const greet = defineWorker({
  queue: 'greet',
  schema: z.object({ name: z.string() }),
  setup: (config: Config) => ({ at: config.replica }),
  handler(job, ctx) {
    // @ts-expect-error the schema gives data its type
    job.data.nope;
    // @ts-expect-error setup gives resources theirs
    ctx.resources.nope;
    return job.data.name.toUpperCase();
  },
});
// @ts-expect-error a queue is a text
defineWorker({ queue: 7, handler: () => 1 });
export const service = createService({ workers: [greet, webhook] });
export const orders = defineQueue({ queue: 'orders', schema: z.object({ n: z.number() }) });
export const parts = [createClient, runHandler];
`,
  );
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable', 'esnext.iterator'],
    module: 'nodenext',
    types: ['node'],
    typeRoots: [resolve('node_modules/@types')],
  };
  write('tsconfig.json', JSON.stringify({ compilerOptions: options, files: ['consumer.mts'] }));
  run(resolve('node_modules/.bin/tsc'), ['-p', folder], folder);
}

/** "Your own handler" of README.md, as it stands there. */
async function checkReadme() {
  const readme = readFileSync('README.md', 'utf8');
  const handler = /```ts\n\/\/ workers\/hello\.ts\n([\s\S]*?)```/.exec(readme)?.[1];
  assert(handler, 'README.md has no workers/hello.ts any more');
  mkdirSync(join(folder, 'workers'));
  write('workers/hello.ts', handler);
  write('workers/webhook.ts', "export { default } from 'holdfast/workers/webhook';\n");
  const service = spawn(bin(), ['start'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  service.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  try {
    const started = await eventOf(service, 'service.started', () => stderr);
    assert.deepEqual(started.queues.toSorted(), ['hello', 'webhook']);
    const result = run(
      bin(),
      ['enqueue', 'hello', '{"name":"Grüß Gott"}', '--wait', '--url', started.http],
      folder,
      env,
    );
    assert.match(result, /Gruess-Gott|Grüß-Gott|Gruss-Gott/, result);
  } finally {
    service.kill('SIGTERM');
    if (service.exitCode === null) await once(service, 'exit');
  }
  assert.equal(service.exitCode, 0, stderr);
}

function eventOf(service, event, stderr) {
  return new Promise((found, failed) => {
    const give = (why) => failed(new Error(`no ${event} (${why}): ${stderr()}`));
    const timer = setTimeout(() => give(`after ${WAIT_MS} ms`), WAIT_MS);
    service.once('exit', (code) => give(`exit code ${code}`));
    createInterface({ input: service.stdout }).on('line', (text) => {
      const line = JSON.parse(text);
      if (line.event !== event) return;
      clearTimeout(timer);
      found(line);
    });
  });
}

/** The service inside an app that has its own `package.json` of CommonJS, as `npm init` writes it. */
async function checkApp() {
  write(
    'app.mjs',
    `import { createService, defineWorker } from 'holdfast';
const { promise, resolve } = Promise.withResolvers();
const echo = defineWorker({ queue: 'echo', handler: (job) => resolve(job.data) });
const service = createService({ settings: { DATA_DIR: 'app-data' }, workers: [echo] });
await service.start();
await service.client.enqueue('echo', 'echo', { said: 'hello' });
const data = await promise;
await service.stop();
process.stderr.write(\`app: \${data.said}\\n\`);
`,
  );
  const { status, stderr } = spawnSync(process.execPath, ['app.mjs'], {
    cwd: folder,
    env,
    encoding: 'utf8',
    timeout: WAIT_MS,
  });
  assert.equal(status, 0, stderr);
  assert.match(stderr, /app: hello/);
}
