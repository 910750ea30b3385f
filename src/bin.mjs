#!/usr/bin/env node
/**
 * The command `holdfast`. Plain JavaScript that an old Node can still read, because its first duty
 * is to find a Node that can run the rest: the present one, the one that this project brought
 * along, or none, which it says in one line.
 *
 * In a clone it runs the sources as they are, in an installed package what was built from them.
 * Must not import anything that only a new Node has before it knows that this is one.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as module from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const NODE_MAJOR_MIN = 24;
/** EX_CONFIG of sysexits.h: the machine must be set up differently, trying again does not help. */
const EXIT_CONFIG = 78;
/** Tells the other Node that it was started by this file, and is to end with the process that did. */
const HANDED_OVER = 'HOLDFAST_HANDED_OVER';
/** What a supervisor, a terminal or an operator may send to the process that they see. */
const FORWARDED_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGTSTP', 'SIGUSR2'];

const root = dirname(dirname(fileURLToPath(import.meta.url)));

if (process.platform === 'win32') {
  refuse('Holdfast runs on Linux and macOS. On Windows, use it in WSL2: https://aka.ms/wsl2');
} else if (majorOf(process.versions.node) < NODE_MAJOR_MIN) {
  const node = findNewerNode();
  if (node === undefined) {
    refuse(
      `Holdfast needs Node ${NODE_MAJOR_MIN} or later, this is ${process.versions.node}: install it from https://nodejs.org, or with \`nvm install ${NODE_MAJOR_MIN}\`.`,
    );
  } else {
    runWith(node);
  }
} else {
  run();
}

/** Loads the command line of this very installation. */
async function run() {
  endWithStarter();
  const isClone = existsSync(join(root, 'src', 'cli.ts'));
  const fileOf = (name) =>
    isClone ? join(root, 'src', `${name}.ts`) : join(root, 'dist', `${name}.js`);
  const workerOf = (name) =>
    isClone ? join(root, 'workers', `${name}.ts`) : join(root, 'dist', 'workers', `${name}.js`);
  serveOwnPackage(fileOf, workerOf);
  const cli = await import(pathToFileURL(fileOf('cli')).href);
  await cli.main(process.argv.slice(2));
}

/**
 * `import … from 'holdfast'` in a worker file means this installation, wherever the file lies: also
 * where nothing is installed beside it, and never a second copy of another version. The workers that come
 * along (`holdfast/workers/faq`) are its own as well.
 */
function serveOwnPackage(fileOf, workerOf) {
  const entries = new Map([
    ['holdfast', fileOf('index')],
    ['holdfast/testing', fileOf('testing')],
  ]);
  const fileFor = (specifier) => {
    const [, worker] = /^holdfast\/workers\/([a-z-]+)$/.exec(specifier) ?? [];
    if (worker === undefined) return entries.get(specifier);
    return existsSync(workerOf(worker)) ? workerOf(worker) : undefined;
  };
  module.registerHooks({
    resolve(specifier, context, nextResolve) {
      const file = fileFor(specifier);
      if (file === undefined) return nextResolve(specifier, context);
      return nextResolve(pathToFileURL(file).href, context);
    },
    // `npm init` writes "type": "commonjs"; a handler in TypeScript is an ES module all the same.
    load(url, context, nextLoad) {
      return context.format === 'commonjs-typescript'
        ? nextLoad(url, { ...context, format: 'module-typescript' })
        : nextLoad(url, context);
    },
  });
}

/** The Node of the platform package, from this package's folder upwards; undefined if none will do. */
function findNewerNode() {
  const platformPackage = `node-${process.platform}-${process.arch}`;
  for (let folder = root; ; folder = dirname(folder)) {
    for (const path of [join(platformPackage, 'bin', 'node'), join('.bin', 'node')]) {
      const candidate = join(folder, 'node_modules', path);
      if (existsSync(candidate) && isNewEnough(candidate)) return candidate;
    }
    if (folder === dirname(folder)) return undefined;
  }
}

function isNewEnough(node) {
  const answer = spawnSync(node, ['--version'], { encoding: 'utf8' });
  return answer.status === 0 && majorOf(answer.stdout.replace('v', '')) >= NODE_MAJOR_MIN;
}

function majorOf(version) {
  return Number(version.split('.')[0]);
}

/**
 * Runs this file again with another Node, as if it had been started so: signals in, exit code out. The
 * channel carries nothing: its end tells the child that this process is gone, however it went.
 */
function runWith(node) {
  const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(node, args, {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [HANDED_OVER]: '1' },
  });
  // Ctrl-C reaches the whole foreground group, and the child twice so: commands count that as one.
  const forward = (signal) => child.kill(signal);
  for (const signal of FORWARDED_SIGNALS) process.on(signal, forward);
  child.on('error', (error) => refuse(`${node} cannot be started: ${error.message}`));
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    for (const name of FORWARDED_SIGNALS) process.removeListener(name, forward);
    process.kill(process.pid, signal);
  });
}

/** The process that others see was killed: as if it had been told to end, and had passed it on. */
function endWithStarter() {
  if (process.env[HANDED_OVER] === undefined) return;
  delete process.env[HANDED_OVER];
  const end = () => process.kill(process.pid, 'SIGTERM');
  if (!process.connected) return end();
  process.once('disconnect', end);
  // A command ends when it has done its work.
  process.channel.unref();
}

function refuse(line) {
  process.stderr.write(`${line}\n`);
  process.exitCode = EXIT_CONFIG;
}
