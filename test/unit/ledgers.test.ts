/** What is remembered of queues whose names a producer makes up. */
import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { MemoryJournal } from '../../src/journal/memory-journal.ts';
import type { AddWork } from '../../src/queue/add-series.ts';
import type { BackendOptions } from '../../src/queue/backend-options.ts';
import type { NumberArgs } from '../../src/queue/fenced-scripts.ts';
import type { Generation } from '../../src/queue/generation.ts';
import { Intake } from '../../src/queue/intake.ts';
import type { HeldJob } from '../../src/queue/ledger.ts';
import { Ledgers } from '../../src/queue/ledgers.ts';
import { Replayer } from '../../src/queue/replayer.ts';
import { ResilientBackend } from '../../src/queue/resilient-backend.ts';
import type { TargetCore } from '../../src/queue/target-core.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

const MINUTE_MS = 60_000;

describe('ledgers', () => {
  it('of made-up names go when nobody uses them, however many come', async () => {
    const clock = new VirtualClock();
    const ledgers = new Ledgers(clock, () => true);
    let most = 0;
    for (let i = 0; i < 50; i += 1) {
      for (let j = 0; j < 100; j += 1) ledgers.of('bull', `made-up-${i}-${j}`);
      most = Math.max(most, [...ledgers.all()].length);
      await clock.pass(MINUTE_MS + 1);
    }
    expect(most).toBeLessThanOrEqual(700);
  });

  it('stay the same object while they are used, or owe something, or something is owed to their queue', async () => {
    const clock = new VirtualClock();
    const ledgers = new Ledgers(clock, ({ queue }) => queue !== 'in doubt');
    const kept = ['used', 'consumed', 'holding', 'in doubt', 'asked for'];
    const before = new Map(kept.map((name) => [name, ledgers.of('bull', name)]));
    before.get('used')!.users = 1;
    before.get('consumed')!.concurrency = 1;
    before.get('holding')!.held.set('1', {} as HeldJob);
    const idle = ledgers.of('bull', 'idle');
    for (let i = 0; i < 600; i += 1) ledgers.of('bull', `first-${i}`);
    await clock.pass(MINUTE_MS + 1);
    ledgers.of('bull', 'asked for');
    for (let i = 0; i < 600; i += 1) ledgers.of('bull', `second-${i}`);
    for (const [name, ledger] of before) expect(ledgers.of('bull', name), name).toBe(ledger);
    expect(ledgers.of('bull', 'idle')).not.toBe(idle);
  });
});

it('a job of a flow keeps no queue in use, since BullMQ never closes what it was made with', () => {
  const clock = new VirtualClock();
  const ledgers = new Ledgers(clock, () => true);
  const core = {
    clock,
    bullConnection: () => new EventEmitter(),
    ledger: (prefix: string, queue: string) => ledgers.of(prefix, queue),
  } as unknown as TargetCore;
  const options = { prefix: 'bull' } as BackendOptions;
  new ResilientBackend(core, '', options, 'producer').forQueue('of-a-node');
  new ResilientBackend(core, 'open', options, 'producer');
  const used = [...ledgers.all()].map(({ queue, isIdle }) => ({ queue, isIdle }));
  expect(used).toEqual([
    { queue: 'of-a-node', isIdle: true },
    { queue: 'open', isIdle: false },
  ]);
});

describe('the adds of a queue that was forgotten', () => {
  it('go on behind their last number, and are forgotten only when nothing can undo them', async () => {
    const clock = new VirtualClock();
    const journal = new MemoryJournal({ bytesMax: 2 ** 20, entriesMax: 1000, clock });
    const ledgers = new Ledgers(clock, () => true);
    const ledger = ledgers.of('bull', 'q');
    const sent: NumberArgs[] = [];
    const generation = {
      alive: true,
      client: {
        get: async () => `${sent.at(-1)?.number ?? 0}`,
        expire: async () => 1,
      },
    } as unknown as Generation;
    const shared = {
      clock,
      processId: 'me',
      rollbackWindowMs: 2000,
      generation: () => generation,
      ready: async () => undefined,
      compareClocks: async () => undefined,
      isOutage: () => false,
      onTrouble: () => undefined,
      restore: () => work,
      onWindowFull: () => undefined,
      onRedone: () => undefined,
    };
    const send = async (_: Generation, number: NumberArgs) => sent.push(number);
    const work: AddWork = { jobId: 'x', bytes: 100, send, sendAgain: send };
    const replayer = new Replayer(
      {
        ...shared,
        ledger: () => ledger,
        workOf: async () => work,
        isRunning: () => false,
        onChange: () => undefined,
        onClear: () => undefined,
      },
      journal,
    );
    const intake = new Intake(
      {
        ...shared,
        enqueueTimeoutMs: 2000,
        roundTripMs: () => 1,
        isConnecting: () => false,
        onUnsent: () => undefined,
        onJournaled: () => undefined,
        onRefusedAgain: () => undefined,
      },
      journal,
      replayer,
    );
    const add = async (id: string) => {
      const job = { jobId: id, name: 'n' };
      const refusal = (code: number) => new Error(`${code}`);
      await intake.accept({ ledger, job, work: () => work, isStrict: false, refusal });
    };
    await add('1');
    await add('2');
    expect(intake.forget(ledger)).toBe(false);
    await clock.pass(5000);
    expect(intake.forget(ledger)).toBe(true);
    await add('3');
    await add('4');
    const key = 'bull:q:holdfast:adds:me';
    expect(sent).toEqual([1, 2, 3, 4].map((number) => ({ key, before: number - 1, number })));
  });
});
