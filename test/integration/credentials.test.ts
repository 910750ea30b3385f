/** Files of secrets that change: noticed by themselves, and a mistake in them takes nothing away. */
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import pino from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Config } from '../../src/config.ts';
import { Credentials } from '../../src/credentials.ts';
import { ConfigError } from '../../src/errors.ts';
import { testConfig } from '../support/config.ts';
import { startRedis } from '../support/redis-server.ts';

/** `usesUrlFile`: the password stands in the file of the URL and not in one of its own. */
async function watched(load?: (present: Config) => Config, usesUrlFile = false) {
  const redis = await startRedis({ args: ['--requirepass', 'first'] });
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-test-credentials-'));
  const file = join(dir, 'password');
  // As Kubernetes mounts a secret: the name is a link, and another file is put behind it.
  const contentOf = (password: string) =>
    usesUrlFile ? `redis://:${password}@127.0.0.1:${redis.port}\n` : `${password}\n`;
  writeFileSync(join(dir, 'one'), contentOf('first'));
  symlinkSync('one', file);
  const base = testConfig();
  const lines: { event?: string; condition?: string; settings?: string[] }[] = [];
  const renewed: Config[] = [];
  const config = testConfig({
    redis: usesUrlFile
      ? { ...base.redis, url: contentOf('first').trim(), urlFile: file }
      : { ...base.redis, url: redis.url, passwordFile: file },
    secretFiles: [file],
  });
  const credentials = new Credentials({
    config,
    load: () => load?.(config) ?? config,
    renewTokens: (config) => void renewed.push(config),
    log: pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    lookEveryMs: 20,
  });
  await credentials.start();
  onTestFinished(async () => {
    await credentials.stop();
    await redis.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  const replace = (text: string) => {
    writeFileSync(join(dir, text), contentOf(text));
    symlinkSync(text, `${file}.new`);
    renameSync(`${file}.new`, file);
  };
  const setPassword = async (password: string) => {
    const admin = new Redis(redis.port, '127.0.0.1', { password: 'first' });
    await admin.config('SET', 'requirepass', password);
    admin.disconnect();
  };
  return { credentials, lines, renewed, replace, setPassword };
}

const events = (lines: { event?: string }[]) => lines.map(({ event }) => event);

describe('a file of a secret', () => {
  it('is read again when another one is put in its place', async () => {
    const { lines, renewed, replace } = await watched();
    replace('second-one');
    await expect.poll(() => lines, { timeout: 10_000 }).toHaveLength(1);
    expect(lines[0]).toMatchObject({
      event: 'credentials.refused',
      condition: 'wrong-password',
    });
    expect(renewed).toHaveLength(1);
    replace('first');
    await expect.poll(() => events(lines), { timeout: 10_000 }).toContain('credentials.reloaded');
  });

  it('that holds the URL of Redis is tried as it stands now', async () => {
    const { credentials, lines, replace, setPassword } = await watched(undefined, true);
    await setPassword('second-one');
    await credentials.reload();
    expect(lines.at(-1)).toMatchObject({
      event: 'credentials.refused',
      condition: 'wrong-password',
    });
    replace('second-one');
    await credentials.reload();
    expect(events(lines)).toContain('credentials.reloaded');
  });

  it.each([
    ['another server', { url: 'redis://:first@127.0.0.1:1' }, 'REDIS_URL'],
    ['another database', { db: 3 }, 'REDIS_DB'],
    [
      'a password that stands in no file',
      { password: 'x', passwordFile: undefined },
      'REDIS_PASSWORD',
    ],
  ])('does not pretend to take %s: that needs a restart', async (_, change, name) => {
    const { credentials, lines } = await watched((present) => ({
      ...present,
      redis: { ...present.redis, ...change },
    }));
    await credentials.reload();
    expect(lines[0]).toMatchObject({ event: 'credentials.restart_needed' });
    expect(lines[0]?.settings).toContain(name);
  });

  it('with a mistake beside it changes nothing, and says so', async () => {
    const { credentials, lines, renewed } = await watched(() => {
      throw new ConfigError([{ where: 'HTTP_TOKEN_FILE', value: 'x', allowed: 'readable' }]);
    });
    await credentials.reload();
    expect(events(lines)).toEqual(['credentials.refused']);
    expect(renewed).toEqual([]);
  });

  it('is left alone after the stop', async () => {
    const { credentials, lines } = await watched();
    await credentials.stop();
    await credentials.reload();
    expect(lines).toEqual([]);
  });
});
