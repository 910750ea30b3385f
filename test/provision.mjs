/**
 * Runs before `npm test`: the tests need a real redis-server. Finds one, or fetches it in the way
 * that the platform provides, and says what it does. Never compiles and never asks.
 *
 * As root on Debian and Ubuntu it installs the package; without root it unpacks the packages into
 * the project's cache (`.cache/redis`), which touches nothing else and can be deleted at any time.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cachedServerPath, findRedisServer, lookForServer } from '../src/redis/server-bin.ts';

const EXIT_CONFIG = 78;

if (import.meta.main) {
  const named = process.env.REDIS_SERVER_BIN;
  if (named && findRedisServer(named) === undefined) {
    fail(`REDIS_SERVER_BIN names ${named}, which cannot be executed. Correct or remove it.`);
  }
  const { tooOld } = lookForServer(named);
  if (tooOld.length > 0) say(`passed over, since older than 6.2: ${tooOld.join(', ')}`);
  if (findRedisServer(named) === undefined) fetchServer();
  const server = findRedisServer(named);
  if (server === undefined) fail('No redis-server after all; see the output above.');
  const version = execFileSync(server, ['--version'], { encoding: 'utf8' });
  say(`the tests use ${server} (${/v=\S+/.exec(version)?.[0] ?? version.trim()})`);
}

function fetchServer() {
  if (process.platform === 'darwin' && has('brew')) {
    say('no redis-server found; installing it with Homebrew (brew install redis)');
    run('brew', ['install', 'redis']);
  } else if (has('apt-get') && process.getuid?.() === 0) {
    say('no redis-server found; installing the Debian package as root (apt-get)');
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    run('apt-get', ['-qq', 'update'], { env });
    const packages = ['--no-install-recommends', 'redis-server'];
    run('apt-get', ['-qq', '-y', 'install', ...packages], { env });
  } else if (has('apt-get') && has('dpkg-deb')) {
    say(`no redis-server found; unpacking the Debian packages into ${dirname(cachedServerPath)}`);
    unpackDebianPackages(dirname(cachedServerPath));
  } else {
    fail(
      'The tests need a real redis-server, and there is neither apt-get nor brew here. Install redis-server or valkey-server with your system’s packages, or set REDIS_SERVER_BIN.',
    );
  }
}

/** Downloads redis-server and whatever of its libraries this machine lacks; no root needed. */
export function unpackDebianPackages(folder) {
  const [lists, archives, root] = ['lists', 'archives', 'root'].map((name) => join(folder, name));
  for (const path of [lists, archives, root]) mkdirSync(join(path, 'partial'), { recursive: true });
  const own = [
    ...['-o', `Dir::State::lists=${lists}`, '-o', `Dir::Cache=${folder}`],
    // Files of our own need neither root's lock nor a change of user.
    ...['-o', 'Debug::NoLocking=1', '-o', 'APT::Sandbox::User='],
    ...['-o', 'Acquire::Languages=none'],
  ];
  run('apt-get', ['-qq', ...own, 'update']);
  const plan = execFileSync(
    'apt-get',
    ['-qq', ...own, '--no-install-recommends', '--print-uris', 'install', 'redis-server'],
    { encoding: 'utf8' },
  );
  // Lines read: 'uri' name_version_arch.deb size hash
  const missing = [...plan.matchAll(/^'[^']+' ([^_\s]+)_\S+\.deb /gm)].map(([, name]) => name);
  const names = new Set([...missing, 'redis-server', 'redis-tools']);
  run('apt-get', ['-qq', ...own, 'download', ...names], { cwd: archives });
  for (const file of readdirSync(archives)) {
    if (file.endsWith('.deb')) run('dpkg-deb', ['-x', join(archives, file), root]);
  }
  const path = join(folder, 'redis-server');
  writeFileSync(path, launcher);
  chmodSync(path, 0o755);
  // The package lists are thirty times the size of the packages.
  for (const leftover of [lists, archives]) rmSync(leftover, { recursive: true, force: true });
  for (const file of readdirSync(folder)) if (file.endsWith('.bin')) rmSync(join(folder, file));
}

/** Debian's binary with the libraries that were unpacked beside it. */
const launcher = `#!/bin/sh
root="$(dirname "$0")/root"
libraries=
for folder in "$root"/usr/lib/*-linux-gnu "$root"/lib/*-linux-gnu; do
  libraries="$libraries$folder:"
done
LD_LIBRARY_PATH="$libraries$LD_LIBRARY_PATH" exec "$root/usr/bin/redis-server" "$@"
`;

function has(command) {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;
}

function run(command, args, options = {}) {
  const { status } = spawnSync(command, args, { stdio: 'inherit', ...options });
  if (status !== 0) fail(`${command} ${args[0]} failed (exit code ${status}).`);
}

function say(line) {
  process.stdout.write(`provision: ${line}\n`);
}

function fail(line) {
  process.stderr.write(`provision: ${line}\n`);
  process.exit(EXIT_CONFIG);
}
