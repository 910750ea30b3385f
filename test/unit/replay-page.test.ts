/** A page of journaled jobs on its way to Redis, whose answers the test gives. */
import { expect, it } from 'vitest';
import type { JobEntry, Kept } from '../../src/journal/entry.ts';
import type { NumberArgs } from '../../src/queue/fenced-scripts.ts';
import type { Generation } from '../../src/queue/generation.ts';
import { jobEntry } from '../../src/queue/job-store.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';
import { PageSender } from '../../src/queue/replay-page.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

/** A server with numbers, that refuses some jobs before their script runs. */
function setUp(refused: readonly string[] = []) {
  const numbers = new Map<string, number>();
  const added: string[] = [];
  const generation = {
    alive: true,
    client: { get: async (key: string) => `${numbers.get(key) ?? 0}`, expire: async () => 1 },
  } as unknown as Generation;
  const add = async (id: string, { key, before, number }: NumberArgs): Promise<string> => {
    if (refused.includes(id)) throw new Error('ERR it is too large');
    if ((numbers.get(key) ?? 0) !== before) throw new Error('FENCED number');
    numbers.set(key, number);
    added.push(id);
    return id;
  };
  const sender = new PageSender(
    {
      processId: 'me',
      clock: new VirtualClock(),
      ledger: (prefix, queue) => ledgerOf(prefix, queue),
      ready: async () => undefined,
      workOf: async (_, { jobId }) => {
        const send = (__: Generation, place: NumberArgs) => add(jobId, place);
        return { jobId: 'x', bytes: 1, send, sendAgain: send };
      },
      isRunning: () => false,
      isOutage: () => false,
    },
    async () => undefined,
  );
  return { sender, added, generation };
}

const ledgers = new Map<string, QueueLedger>();
function ledgerOf(prefix: string, queue: string): QueueLedger {
  const ledger = ledgers.get(queue) ?? new QueueLedger(prefix, queue);
  ledgers.set(queue, ledger);
  return ledger;
}

let position = 0;
function entryOf(queue: string, jobId: string, series: string, number: number): Kept<JobEntry> {
  const ledger = ledgerOf('bull', queue);
  position += 1;
  const place = { key: ledger.key(series), number };
  return { ...jobEntry(ledger, { jobId, name: 'n' }, 0, place, 'unsent'), position };
}

it('lets no job of a queue overtake those of an earlier series that have to be sent again', async () => {
  const { sender, added, generation } = setUp(['1']);
  const page = [
    entryOf('mail', '1', 'adds:dead', 1),
    entryOf('mail', '2', 'adds:dead', 2),
    entryOf('mail', '3', 'replay:me', 1),
    entryOf('faq', '4', 'replay:me', 1),
  ];
  const last = new Map<string, number>();
  const steps = await sender.stepsOf(page, generation, new Set());
  const fates = await sender.send(steps, generation, last, false);
  expect(fates).toEqual([{ refused: 'ERR it is too large' }, 'again', 'again', 'acted']);
  expect(added).toEqual(['4']);
  last.clear();
  const again = steps.filter((_, i) => fates[i] === 'again');
  expect(await sender.send(again, generation, last, false)).toEqual(['acted', 'acted']);
  expect(added).toEqual(['4', '2', '3']);
});
