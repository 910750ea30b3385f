/** The store that serves the journal's thread, asked without one. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { pack } from '../../src/journal/entry.ts';
import { openStore } from '../../src/journal/store.ts';
import {
  columnsOf,
  type Operation,
  type Operations,
  type Reply,
} from '../../src/journal/thread-protocol.ts';
import { systemClock } from '../../src/time.ts';
import { jobNumber } from '../support/journal-entries.ts';
import { journalFolder } from '../support/journal-folder.ts';

function openIn(base: string) {
  const replies: Reply[] = [];
  const store = openStore({ base, replica: 'one', ownWaitMs: 0 }, systemClock, (reply) =>
    replies.push(reply),
  )!;
  return <Name extends Operation>(name: Name, ...args: Parameters<Operations[Name]>) => {
    store.serve({ id: 1, name, args });
    const reply = replies.at(-1);
    return reply?.type === 'done' ? reply.value : reply;
  };
}

it('gives no position again that was lost to damage while it was open', async () => {
  const base = await journalFolder();
  const ask = openIn(base);
  expect(ask('append', columnsOf([jobNumber(1), jobNumber(2)].map(pack)))).toBe(1);
  const other = new DatabaseSync(join(base, 'one', 'journal.db'));
  other.exec('UPDATE entry SET crc = crc + 1 WHERE position = 2');
  other.close();
  const page = { type: 'job', queue: undefined, after: 0, limit: 10 } as const;
  expect(ask('page', page)).toMatchObject([{ position: 1, jobId: 'job-1' }]);
  // Whoever was told of 2 may settle it yet.
  expect(ask('append', columnsOf([pack(jobNumber(3))]))).toBe(3);
  ask('close');
});

it('gives no position again in its next life when its files were removed meanwhile', async () => {
  const base = await journalFolder();
  const ask = openIn(base);
  ask('append', columnsOf([jobNumber(1), jobNumber(2)].map(pack)));
  ask('remove', [1, 2]);
  rmSync(join(base, 'one'), { recursive: true });
  ask('adopt');
  ask('close');
  // Whoever adopted entry 1 of this journal takes another one of that name for the same.
  const next = openIn(base);
  expect(next('append', columnsOf([pack(jobNumber(3))]))).toBe(3);
  next('close');
});

it('does not say that it takes entries again while another process has its place', async () => {
  const base = await journalFolder();
  const ask = openIn(base);
  ask('append', columnsOf([pack(jobNumber(1))]));
  rmSync(join(base, 'one'), { recursive: true });
  const other = openIn(base);
  const isRefused = {
    type: 'failed',
    fault: { what: expect.stringContaining('in use by another') },
  };
  expect(ask('append', columnsOf([pack(jobNumber(2))]))).toMatchObject(isRefused);
  expect(ask('probe')).toMatchObject(isRefused);
  other('close');
  expect(ask('probe')).toBeUndefined();
  expect(ask('append', columnsOf([pack(jobNumber(3))]))).toBe(3);
  ask('close');
});
