/** The example of docs/docker.md: a user's handlers with npm packages of their own, three lines on top. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildImage, docker, IMAGE, ROOT } from './support/docker.ts';
import { until } from './support/fleet.ts';

const EXAMPLE = 'deploy/own-image';
const OWN_IMAGE = 'holdfast:test-own';

let id: string;
beforeAll(async () => {
  // The example says `FROM holdfast`; the image under test must not take that name on a user's engine.
  const dockerfile = readFileSync(join(ROOT, EXAMPLE, 'Dockerfile'), 'utf8');
  expect(dockerfile.trim().split('\n')).toHaveLength(3);
  await buildImage(
    OWN_IMAGE,
    EXAMPLE,
    {},
    dockerfile.replace('FROM holdfast\n', `FROM ${IMAGE}\n`),
  );
  id = (
    await docker([
      ...['run', '--detach', '--read-only', '--cap-drop', 'ALL', '--network', 'none'],
      ...['--env', 'NODE_ENV=development', OWN_IMAGE],
    ])
  ).trim();
});
afterAll(() => docker(['rm', '--force', '--volumes', id]));

const holdfast = (...args: string[]): Promise<string> => docker(['exec', id, 'holdfast', ...args]);

it('runs a handler that imports its own package and one that the image brings along', async () => {
  await until(
    () =>
      holdfast('status').then(
        () => true,
        () => false,
      ),
    'the service answers',
    () => docker(['logs', id]),
  );
  const result = await holdfast('enqueue', 'slug', '{"text":"Grüß Gott, Welt"}', '--wait');
  expect(result).toContain('gruss-gott-welt');
});

it("keeps the user's packages apart from Holdfast's", async () => {
  expect((await docker(['exec', id, 'ls', '/app/node_modules'])).trim()).toBe('slugify');
});
