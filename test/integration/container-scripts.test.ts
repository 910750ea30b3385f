/** The scripts that the image brings along, run as the container runs them. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pino from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ServiceNote } from '../../src/service-note.ts';
import { testConfig } from '../support/config.ts';
import { freePort } from '../support/redis-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

interface Ended {
  code: number;
  stdout: string;
}

async function run(script: string, env: Record<string, string>): Promise<Ended> {
  const path = `deploy/container/${script}.mjs`;
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [path], { env });
    return { code: 0, stdout: stdout.trim() };
  } catch (error) {
    const { code, stdout } = error as Ended;
    return { code, stdout: stdout.trim() };
  }
}

describe('the health check', () => {
  /** A service whose port only its note tells, as when it stands in `.env`. */
  async function noted(status: number, host = '127.0.0.1') {
    const dataDir = temporaryFolder();
    const server = createServer((request, response) => {
      response.writeHead(request.url === '/livez' ? status : 404).end();
    }).listen(0, host);
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const log = pino({ level: 'silent' });
    const note = new ServiceNote(testConfig({ dataDir }), () => `http://${host}:${port}`, log);
    await note.start();
    return { note, env: { DATA_DIR: dataDir, HTTP_PORT: `${await freePort()}` } };
  }

  it('asks where the service says that it listens, and not where the environment says', async () => {
    const { env, note } = await noted(200);
    expect(await run('healthcheck', env)).toEqual({ code: 0, stdout: 'HTTP 200' });
    await note.stop();
    const asGiven = await run('healthcheck', env);
    expect(asGiven).toMatchObject({ code: 1, stdout: expect.stringContaining(env.HTTP_PORT) });
  });

  it('asks one that listens on all addresses on loopback, and is red when it is', async () => {
    const { env } = await noted(503, '0.0.0.0');
    expect(await run('healthcheck', env)).toEqual({ code: 1, stdout: 'HTTP 503' });
  });

  it('does not believe a note of another container, and asks nobody where HTTP is off', async () => {
    const { env } = await noted(200);
    const [file] = readdirSync(env.DATA_DIR);
    const path = join(env.DATA_DIR, file!);
    const note = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...note, host: 'another' }));
    expect((await run('healthcheck', env)).code).toBe(1);
    expect((await run('healthcheck', { ...env, HTTP: 'off' })).code).toBe(0);
    writeFileSync(path, JSON.stringify({ ...note, http: null }));
    expect((await run('healthcheck', env)).code).toBe(0);
  });
});

describe('the first token', () => {
  it('is made once, by one of the replicas that start together, and for its owner only', async () => {
    const file = join(temporaryFolder(), 'http-token');
    const env = { HTTP_TOKEN_FILE: file };
    const runs = await Promise.all([1, 2, 3].map(() => run('first-token', env)));
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0]);
    const token = readFileSync(file, 'utf8');
    expect(token).toMatch(/^[0-9a-f]{64}\n$/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await run('first-token', env);
    expect(readFileSync(file, 'utf8')).toBe(token);
    expect(readdirSync(join(file, '..'))).toEqual(['http-token']);
  });

  it('is not made where one is given', async () => {
    const file = join(temporaryFolder(), 'http-token');
    const given = { HTTP_TOKEN_FILE: file, HTTP_TOKEN: 'one-of-the-operator' };
    expect((await run('first-token', given)).code).toBe(0);
    expect(() => statSync(file)).toThrow('ENOENT');
  });
});
