/** Files of secrets that change: noticed by themselves, and a mistake in them takes nothing away. */
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Config } from '../../src/config.ts';
import { Credentials } from '../../src/credentials.ts';
import { ConfigError } from '../../src/errors.ts';
import { testConfig } from '../support/config.ts';
import { startRedis } from '../support/redis-server.ts';

async function watched(load: () => Config) {
  const redis = await startRedis({ args: ['--requirepass', 'first'] });
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-test-credentials-'));
  const file = join(dir, 'password');
  // As Kubernetes mounts a secret: the name is a link, and another file is put behind it.
  writeFileSync(join(dir, 'one'), 'first\n');
  symlinkSync('one', file);
  const base = testConfig();
  const lines: { event?: string; condition?: string }[] = [];
  const renewed: Config[] = [];
  const credentials = new Credentials({
    config: testConfig({
      redis: { ...base.redis, url: redis.url, passwordFile: file },
      secretFiles: [file],
    }),
    load,
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
    writeFileSync(join(dir, text), `${text}\n`);
    symlinkSync(text, `${file}.new`);
    renameSync(`${file}.new`, file);
  };
  return { credentials, lines, renewed, replace };
}

const events = (lines: { event?: string }[]) => lines.map(({ event }) => event);

describe('a file of a secret', () => {
  it('is read again when another one is put in its place', async () => {
    const { lines, renewed, replace } = await watched(() => testConfig());
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

  it('with a mistake beside it changes nothing, and says so', async () => {
    const { credentials, lines, renewed } = await watched(() => {
      throw new ConfigError([{ where: 'HTTP_TOKEN_FILE', value: 'x', allowed: 'readable' }]);
    });
    await credentials.reload();
    expect(events(lines)).toEqual(['credentials.refused']);
    expect(renewed).toEqual([]);
  });

  it('is left alone after the stop', async () => {
    const { credentials, lines } = await watched(() => testConfig());
    await credentials.stop();
    await credentials.reload();
    expect(lines).toEqual([]);
  });
});
