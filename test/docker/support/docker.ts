/**
 * The Docker command line for the tests, and the image that they are about. Every call has a deadline
 * and fails with what the command said.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The repository: context of the build, place of the compose file. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
export const IMAGE = 'holdfast:test';

const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const COMMAND_MS = 120_000;
/** Two `npm ci` over a slow network. */
const BUILD_MS = 400_000;

const run = promisify(execFile);

export interface Said {
  stdout: string;
  stderr: string;
}

/** Runs `docker <args>` in the repository. @throws Error with the command's own words */
export async function docker(args: readonly string[], deadlineMs = COMMAND_MS): Promise<string> {
  return (await dockerSays(args, deadlineMs)).stdout;
}

export async function dockerSays(
  args: readonly string[],
  deadlineMs = COMMAND_MS,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Said> {
  return run('docker', args, {
    cwd: ROOT,
    env,
    timeout: deadlineMs,
    maxBuffer: OUTPUT_BYTES_MAX,
  });
}

/**
 * Builds `context` as `tag`; base images and network are those of the engine that the tests use.
 * `dockerfile` is a text instead of the context's own file.
 */
export async function buildImage(
  tag: string,
  context: string,
  args: Readonly<Record<string, string>> = {},
  dockerfile?: string,
): Promise<void> {
  const { HOLDFAST_TEST_NODE_IMAGE: nodeImage, HOLDFAST_TEST_BUILD_NETWORK: network } = process.env;
  const given = nodeImage === undefined ? args : { ...args, NODE_IMAGE: nodeImage };
  const build = run(
    'docker',
    [
      'build',
      ...(network === undefined ? [] : ['--network', network]),
      ...Object.entries(given).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
      ...(dockerfile === undefined ? [] : ['--file', '-']),
      ...['--tag', tag, context],
    ],
    { cwd: ROOT, timeout: BUILD_MS, maxBuffer: OUTPUT_BYTES_MAX },
  );
  build.child.stdin?.end(dockerfile ?? '');
  await build;
}

/** Runs a command in a new container of `image`, which is removed afterwards. */
export function runOnce(
  image: string,
  options: readonly string[],
  command: readonly string[],
): Promise<string> {
  return docker(['run', '--rm', '--network', 'none', ...options, image, ...command]);
}

/** What the engine knows of an image or a container. */
export async function inspect<T>(id: string): Promise<T> {
  const [found] = JSON.parse(await docker(['inspect', id])) as T[];
  return found!;
}
