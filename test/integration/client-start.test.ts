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
