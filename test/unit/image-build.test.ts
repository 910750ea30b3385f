/** What the Dockerfile must agree on with package.json, seen without an engine. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const dockerfile = readFileSync('Dockerfile', 'utf8');
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  scripts: Record<string, string>;
};
/** What makes `dist/`, to which every entry of `exports` leads. */
const builds = [...scripts.prepack!.matchAll(/npm run (\S+)/g)].map(([, name]) => name!);

it('the image is built by every script that builds the package', () => {
  expect(builds).toEqual(['build', 'build:workers']);
  for (const name of builds) expect(dockerfile).toMatch(new RegExp(`npm run ${name}(?![\\w:])`));
});

it('whatever the build reads is copied into it, and nothing of it is ignored', () => {
  const ignored = readFileSync('.dockerignore', 'utf8').split('\n');
  const [build] = dockerfile.split(/^FROM /m).slice(1);
  const copied = [...build!.matchAll(/^COPY (.+) \S+$/gm)].flatMap(([, names]) =>
    names!.split(' '),
  );
  const configs = builds.flatMap((name) => scripts[name]!.match(/tsconfig\.\w+\.json/g) ?? []);
  for (const name of ['src', 'workers', 'tsconfig.json', ...configs]) {
    expect(copied).toContain(name);
    expect(ignored).toContain(`!${name}`);
  }
});
