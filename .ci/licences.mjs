/**
 * Which licences come along with the package: every production dependency, as package-lock.json and
 * node_modules have it. Fails on one that is not in the list, so that a person decides.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Permissive licences: they ask for their notice, and for nothing of the code that uses them. */
const ALLOWED = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  'MIT',
  'MIT-0',
  // Public domain, in its own words.
  'Unlicense',
]);

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const counts = new Map();
const refused = [];
for (const [path, entry] of Object.entries(packages)) {
  if (path === '' || entry.dev || entry.devOptional) continue;
  const licence = entry.license ?? licenceOf(path);
  // An optional package of another platform is not here, and so not shipped from here.
  if (licence === undefined && entry.optional) continue;
  counts.set(licence, (counts.get(licence) ?? 0) + 1);
  if (!isAllowed(licence)) refused.push(`${path.replace(/^.*node_modules\//, '')}: ${licence}`);
}

const list = [...counts].sort(([, a], [, b]) => b - a).map(([name, count]) => `${name} ${count}`);
process.stdout.write(`licences of production dependencies: ${list.join(', ')}\n`);
if (refused.length > 0) {
  process.stderr.write(`not in the list of .ci/licences.mjs:\n  ${refused.join('\n  ')}\n`);
  process.exit(1);
}

function licenceOf(path) {
  const file = join(path, 'package.json');
  if (!existsSync(file)) return undefined;
  const { license, licenses } = JSON.parse(readFileSync(file, 'utf8'));
  return license?.type ?? license ?? licenses?.[0]?.type;
}

/** Of `A OR B` one must be allowed, of `A AND B` both. */
function isAllowed(expression) {
  if (typeof expression !== 'string') return false;
  const bare = expression.replace(/[()]/g, '');
  return bare
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every((name) => ALLOWED.has(name.trim())));
}
