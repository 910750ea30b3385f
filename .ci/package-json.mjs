/**
 * npm's `prepack` and `postpack`: what is published is not quite what developers install.
 * `node package-json.mjs for-users` rewrites package.json, `… for-developers` brings it back.
 *
 * The Node that the repository brings along (`node-linux-*`) has no business in a user's project,
 * and the JavaScript fallback may fail to install there. Must leave the file in git as it was, also
 * when a pack was cut short: the next one begins from the copy that was kept.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const FILE = 'package.json';
const KEPT = '.cache/package.json.kept';
const DEVELOPMENT_ONLY = ['scripts', 'devDependencies', 'overrides', 'allowScripts'];

function forDevelopers() {
  if (!existsSync(KEPT)) return;
  copyFileSync(KEPT, FILE);
  rmSync(KEPT);
}

function forUsers() {
  forDevelopers();
  mkdirSync(dirname(KEPT), { recursive: true });
  copyFileSync(FILE, KEPT);
  const manifest = JSON.parse(readFileSync(FILE, 'utf8'));
  const { 'js-redis-server': fallback, ...dependencies } = manifest.dependencies;
  manifest.dependencies = dependencies;
  manifest.optionalDependencies = { 'js-redis-server': fallback };
  for (const field of DEVELOPMENT_ONLY) delete manifest[field];
  writeFileSync(FILE, `${JSON.stringify(manifest, null, 2)}\n`);
}

const steps = { 'for-users': forUsers, 'for-developers': forDevelopers };
const step = steps[process.argv[2]];
if (step === undefined) throw new Error(`expected one of ${Object.keys(steps).join(', ')}`);
step();
