/** The outcomes that a rollback may undo: which are forgotten, and when. */
import pino from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  type HeldJob,
  type Outcome,
  QueueLedger,
  WINDOW_BYTES_MAX,
} from '../../src/queue/ledger.ts';
import { Settlements } from '../../src/queue/settlements.ts';
import { systemClock } from '../../src/time.ts';

const WINDOW_MS = 10_000;

let wall: number;
let ledger: QueueLedger;
let settlements: Settlements;

beforeEach(() => {
  wall = 1000;
  ledger = new QueueLedger('bull', 'q');
  const journal = {
    append: async () => 1,
    settle: async () => undefined,
    refuse: async () => undefined,
  };
  const clock = { ...systemClock, wall: () => wall };
  settlements = new Settlements(journal, clock, WINDOW_MS, pino({ level: 'silent' }));
});

function outcome(id: string, bytes = 0): Outcome {
  const job = { id } as HeldJob;
  const args = ['x'.repeat(bytes)];
  return { job, command: 'moveToFinished', args, at: wall, position: undefined };
}

const remembered = () => ledger.window.map(({ job }) => job.id);

describe('in calm weather', () => {
  it('forgets what is older than the window', () => {
    settlements.acknowledged(ledger, outcome('old'));
    wall += WINDOW_MS + 1;
    settlements.acknowledged(ledger, outcome('new'));
    expect(remembered()).toEqual(['new']);
  });

  it('keeps no more bytes than it may, and the newest of them', () => {
    for (const id of ['first', 'second', 'third']) {
      settlements.acknowledged(ledger, outcome(id, WINDOW_BYTES_MAX / 2));
    }
    expect(remembered()).toEqual(['third']);
  });
});

describe('in a recovery', () => {
  it('forgets nothing for what it writes, however long Redis was away', async () => {
    settlements.acknowledged(ledger, outcome('before'));
    wall += 10 * WINDOW_MS;
    await settlements.settled(ledger, [outcome('owed')]);
    expect(remembered()).toEqual(['before', 'owed']);
  });

  it('lets the time of the window begin anew at its end', () => {
    settlements.acknowledged(ledger, outcome('before'));
    wall += 10 * WINDOW_MS;
    ledger.renewWindow(wall);
    wall += WINDOW_MS;
    settlements.acknowledged(ledger, outcome('after'));
    expect(remembered()).toEqual(['before', 'after']);
  });
});
