/** The note of a service for the commands of its machine, on a disk without room for it. */
import { readdirSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { ServiceNote } from '../../src/service-note.ts';
import { testConfig } from '../support/config.ts';
import { canMount, fillUp, mountSmall } from '../support/small-disk.ts';

it.runIf(canMount)('is done without, and nothing half is left', async () => {
  const disk = mountSmall('1m');
  onTestFinished(() => disk.end());
  fillUp(disk.dir);
  const told: unknown[] = [];
  const log = { warn: (fields: object) => told.push(fields) };
  const note = new ServiceNote(testConfig({ dataDir: disk.dir }), () => undefined, log);
  await note.start();
  expect(told).toMatchObject([{ event: 'service.not_noted', err: { code: 'ENOSPC' } }]);
  expect(readdirSync(disk.dir)).toEqual(['filler']);
  await note.stop();
});
