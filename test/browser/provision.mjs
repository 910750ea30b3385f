/**
 * Runs before `npm run test:browser`: the tests need a Chromium. Finds one, or installs Debian's package
 * where it runs as root, and says what it does.
 */
import { execFileSync } from 'node:child_process';
import { findChromium } from './support/chromium.ts';

const EXIT_CONFIG = 78;

if (findChromium() === undefined && process.getuid?.() === 0) {
  process.stdout.write('no Chromium found; installing the Debian package (apt-get)\n');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const run = (...args) => execFileSync('apt-get', ['-qq', ...args], { env, stdio: 'inherit' });
  run('update');
  run('-y', 'install', '--no-install-recommends', 'chromium', 'fonts-dejavu-core');
}
const found = findChromium();
if (found === undefined) {
  process.stderr.write(
    'The browser tests need a Chromium. Install it with your system’s packages, or name it in CHROMIUM_BIN.\n',
  );
  process.exit(EXIT_CONFIG);
}
process.stdout.write(`the browser tests use ${found}\n`);
