/**
 * Before the tests of this tier: an engine must answer (`npm run test:docker` sees to it), and the image
 * is built from what lies in the repository.
 */
import { readFileSync } from 'node:fs';
import { buildImage, docker, IMAGE, ROOT } from './support/docker.ts';

export const REVISION = '0123456789abcdef0123456789abcdef01234567';

export default async function setup(): Promise<void> {
  await docker(['info']).catch((cause: unknown) => {
    throw new Error('No Docker engine answers. `npm run test:docker` starts one.', { cause });
  });
  const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as {
    version: string;
  };
  await buildImage(IMAGE, '.', { VERSION: version, REVISION });
}
