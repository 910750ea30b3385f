/** A client that cannot start leaves nothing behind; one that closes tells what is left. */
import pino from 'pino';
import { expect, it } from 'vitest';
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
