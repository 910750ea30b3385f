/** The image by itself: who it runs as, what is in it, how it starts, tells its health and stops. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REVISION } from './setup.ts';
import { docker, dockerSays, IMAGE, inspect, ROOT, runOnce } from './support/docker.ts';
import { until } from './support/fleet.ts';

interface ImageFacts {
  Size: number;
  Config: { User: string; Labels: Record<string, string> };
}
interface ContainerFacts {
  State: { ExitCode: number; Health: { Status: string } };
}

/** As strict as an orchestrator can be; no network but loopback. */
const LOCKED = [
  '--read-only',
  ...['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges', '--network', 'none'],
  // No Redis is in reach here: development brings one along.
  ...['--env', 'NODE_ENV=development'],
];
/** What Holdfast and its packages may add to the base image; 53 MB when this was written. */
const ADDED_BYTES_MAX = 80_000_000;

describe('the image', () => {
  it('runs as a numbered user that is not root', async () => {
    expect((await inspect<ImageFacts>(IMAGE)).Config.User).toBe('1000:1000');
    expect((await runOnce(IMAGE, [], ['id', '-u'])).trim()).toBe('1000');
  });

  it('says what it is in OCI labels', async () => {
    const { Labels } = (await inspect<ImageFacts>(IMAGE)).Config;
    const { version, license } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8'));
    expect(Labels).toMatchObject({
      'org.opencontainers.image.title': 'holdfast',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.revision': REVISION,
      'org.opencontainers.image.licenses': license,
    });
  });

  it('holds no development part, no source and nothing that belongs to one architecture', async () => {
    const strays = await runOnce(
      IMAGE,
      [],
      [
        ...['sh', '-c'],
        `find -L /holdfast \\( -name '*.ts' -o -name '*.map' -o -name '*.node' -o -name 'node-linux-*' \\
           -o -path '*/node_modules/typescript' -o -path '*/node_modules/vitest' \\
           -o -path '*/node_modules/@biomejs' \\); ls -A /app`,
      ],
    );
    expect(strays.trim().split('\n')).toEqual(['config', 'docs', 'workers']);
  });

  it("has the workers that come along also where the user's lie over its folder", async () => {
    const said = await runOnce(
      IMAGE,
      ['--env', 'NODE_ENV=development', '--env', 'WORKERS_DIR=/tmp/mine'],
      [
        ...['sh', '-c'],
        `mkdir /tmp/mine && echo "export { default } from 'holdfast/workers/webhook'" \
           >/tmp/mine/hook.mjs && holdfast start --burst`,
      ],
    );
    expect(said).toMatch(/"service.started","queues":\["webhook"\]/);
  });

  it('adds little to its base', async () => {
    const { Size, Config } = await inspect<ImageFacts>(IMAGE);
    const base = await inspect<ImageFacts>(Config.Labels['org.opencontainers.image.base.name']!);
    expect(Size - base.Size).toBeLessThan(ADDED_BYTES_MAX);
  });

  it('refuses to start in production without a Redis, and says what to set', async () => {
    const refusal = await dockerSays(['run', '--rm', '--network', 'none', IMAGE]).catch(
      (error: { code: number; stderr: string }) => error,
    );
    expect(refusal).toMatchObject({ code: 78, stderr: expect.stringContaining('REDIS_URL') });
  });

  it('has a health check that turns red when nobody answers', async () => {
    const failed = await dockerSays([
      ...['run', '--rm', '--network', 'none', IMAGE, 'node', '/holdfast/healthcheck.mjs'],
    ]).catch((error: { code: number; stdout: string }) => error);
    expect(failed).toMatchObject({ code: 1, stdout: expect.stringContaining('ECONNREFUSED') });
  });
});

describe('a container without any right, on a read-only root file system', () => {
  let id: string;
  const exec = (...command: string[]): Promise<string> => docker(['exec', id, ...command]);

  beforeAll(async () => {
    id = (await docker(['run', '--detach', ...LOCKED, IMAGE])).trim();
  });
  afterAll(() => docker(['rm', '--force', '--volumes', id]));

  it('becomes healthy', async () => {
    const health = async () => (await inspect<ContainerFacts>(id)).State.Health.Status;
    await until(async () => (await health()) === 'healthy', 'it is healthy', health);
  });

  it('has the command line on its PATH', async () => {
    const status = JSON.parse(await exec('holdfast', 'status', '--json'));
    expect(status.services).toEqual([expect.objectContaining({ status: 'ok' })]);
    const said = await exec(
      ...['holdfast', 'enqueue', 'faq', '{"question":"What is the journal?"}', '--wait'],
    );
    expect(said).toContain('journal');
  });

  it('has an init that reaps what handlers leave behind', async () => {
    expect((await exec('cat', '/proc/1/comm')).trim()).toBe('tini');
    await exec('sh', '-c', '(sleep 0.1 &)');
    const zombies = () => exec('sh', '-c', "grep -l '^State:.Z' /proc/[0-9]*/status || true");
    await until(async () => (await zombies()) === '', 'no zombie is left', zombies);
  });

  it('can be told from outside to take no more jobs', async () => {
    await exec('holdfast', 'quiet');
    await until(
      async () => (await docker(['logs', id])).includes('"workers.quiet"'),
      'the service has heard it',
    );
  });

  it('passes SIGTERM on: the service stops gracefully, and the container ends with 0', async () => {
    await docker(['stop', '--time', '30', id]);
    expect((await inspect<ContainerFacts>(id)).State.ExitCode).toBe(0);
    const { stdout } = await dockerSays(['logs', id]);
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { event?: string }).event);
    expect(events).toContain('service.started');
    expect(events.at(-1)).toBe('service.stopped');
  });
});
