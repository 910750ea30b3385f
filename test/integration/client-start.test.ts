/** A client that cannot start leaves nothing behind; one that closes tells what is left. */
import pino from 'pino';
import { expect, it, onTestFinished, vi } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import { outcomeNumber } from '../support/journal-entries.ts';
import { journalFolder, openIn } from '../support/journal-folder.ts';

const log = pino({ level: 'silent' });
const nobody = 'redis://127.0.0.1:1';

it('gives its folder back when it cannot start', async () => {
  const dir = await journalFolder();
  const broken = await openIn(dir, { replica: 'c' });
  await broken.append({ ...outcomeNumber(1), args: 'no JSON' });
  await broken.close();
  const open = () => createClient({ redis: nobody, journal: dir, name: 'c', log });
  await expect(open()).rejects.toThrow(/JSON/);
  const again = await openIn(dir, { replica: 'c' });
  expect((await again.close()).left).toBe(1);
});

it('overlooks no option: one that is misspelt would promise what nobody keeps', async () => {
  const misspelt = { redis: nobody, journal: 'memory', log, durabilty: 'strict' };
  await expect(createClient(misspelt)).rejects.toMatchObject({
    code: 'HOLDFAST_CONFIG_INVALID',
    message: expect.stringMatching(/durabilty: .*redis, journal, name, durability/),
  });
  const settings = { ROLLBACK_WINDOWS: '20s' };
  await expect(createClient({ redis: nobody, journal: 'memory', log, settings })).rejects.toThrow(
    /settings\.ROLLBACK_WINDOWS/,
  );
  const known = { ROLLBACK_WINDOW: '20s', REDIS_PASSWORD_FILE: undefined as never };
  const client = await createClient({ redis: nobody, journal: 'memory', log, settings: known });
  await client.close();
});

it('counts at its close what was accepted up to then', async () => {
  const dir = await journalFolder();
  const client = await createClient({ redis: nobody, journal: dir, name: 'c', log });
  await client.enqueue('q', 'x', {});
  const last = client.enqueue('q', 'x', {});
  const left = await client.close();
  await last;
  expect(left.jobs).toBe(2);
});

it('says that it is closed, at once, and not that Redis is away', async () => {
  const client = await createClient({ redis: nobody, journal: 'memory', log });
  await client.close();
  const refusal = { code: 'HOLDFAST_CLIENT_CLOSED' };
  await expect(client.counts('q')).rejects.toMatchObject(refusal);
  await expect(client.job('q', 'x')).rejects.toMatchObject(refusal);
  expect(() => client.queue('q')).toThrow(expect.objectContaining(refusal));
});

it('names an option of the wrong kind, never its value', async () => {
  const wrong = {
    redis: { host: 'h', password: 'geheim' },
    journal: 5,
    durability: true,
    enqueueTimeout: '5s',
    settings: { ENQUEUE_TIMEOUT: 500 },
    telemetry: {},
  };
  const refusal: unknown = await createClient(wrong as never).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: 'HOLDFAST_CONFIG_INVALID' });
  const { message } = refusal as Error;
  for (const name of Object.keys(wrong)) expect(message).toContain(`${name}: `);
  expect(message).not.toContain('geheim');
  await expect(createClient(null as never)).rejects.toThrow(
    /createClient: null .* an object of redis/,
  );
});

it('takes from the environment what is meant for a client, since the app has it too', async () => {
  const theirs = {
    NODE_ENV: 'staging',
    LOG_LEVEL: 'verbose',
    HTTP_PORT: 'abc',
    CONCURRENCY: 'many',
    CONCURRENCY_Q: '1.5',
    JOURNAL: 'memory',
    REDIS_USERNAME: 'u',
    REDIS_SENTINELS: 'nowhere:1',
  };
  for (const [name, text] of Object.entries(theirs)) vi.stubEnv(name, text);
  onTestFinished(() => void vi.unstubAllEnvs());
  const dir = await journalFolder();
  const client = await createClient({ redis: nobody, journal: dir, log });
  await client.enqueue('q', 'x', {});
  expect(await client.close()).toMatchObject({ jobs: 1, path: expect.stringContaining(dir) });
  vi.stubEnv('ENQUEUE_TIMEOUT', 'soon');
  await expect(createClient({ redis: nobody, journal: dir, log })).rejects.toThrow(
    /ENQUEUE_TIMEOUT/,
  );
});
