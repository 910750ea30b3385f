/** Who holds a job that was taken. */
import { expect, it } from 'vitest';
import { QueueLedger } from '../../src/queue/ledger.ts';
import type { Sender } from '../../src/queue/sender.ts';
import { Taker } from '../../src/queue/taker.ts';
import type { TargetCore } from '../../src/queue/target-core.ts';

const REPLY = [['timestamp', '1', 'ats', '1', 'name', 'x'], 'id', 0, 0];

function takerOf(ledger: QueueLedger): Taker {
  const core = {
    clock: { now: () => 0 },
    idleRead: { leave: () => undefined },
    generation: () => undefined,
    tookJob: () => undefined,
  };
  return new Taker(core as unknown as TargetCore, ledger, {} as Sender, 'marker');
}

it('a job is held by its Worker until that is closed', () => {
  const ledger = new QueueLedger('bull', 'q');
  const [one, other] = [takerOf(ledger), takerOf(ledger)];
  one.hold(REPLY, 'token', undefined);
  other.leave();
  expect([...ledger.held.keys()]).toEqual(['id']);
  one.leave();
  expect(ledger.held.size).toBe(0);
});

it('a job that comes when its Worker is closed is not held: whoever finds it stalled runs it', () => {
  const ledger = new QueueLedger('bull', 'q');
  const taker = takerOf(ledger);
  taker.leave();
  expect(taker.hold(REPLY, 'token', undefined)).toBe(REPLY);
  expect(ledger.held.size).toBe(0);
});
