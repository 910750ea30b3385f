/** The producer's side where something fails that no recovery follows: a slow disk, an odd answer. */
import { describe, expect, it } from 'vitest';
import type { Journal } from '../../src/journal/journal.ts';
import { MemoryJournal } from '../../src/journal/memory-journal.ts';
import { AddSeries, type AddWork, type RefusedAgain } from '../../src/queue/add-series.ts';
import type { Generation } from '../../src/queue/generation.ts';
import { Intake } from '../../src/queue/intake.ts';
import { jobEntry, storedJob } from '../../src/queue/job-store.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';
import { Replayer } from '../../src/queue/replayer.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

const WINDOW_MS = 2000;
const TIMEOUT_MS = 2000;
/** What an outage rejects requests with. */
const CLOSED = new Error('Connection is closed.');

/** A server that takes every add, or says once what it is told to. */
function setUp(overrides: Partial<Journal> = {}) {
  const clock = new VirtualClock();
  const kept = new MemoryJournal({ bytesMax: 2 ** 20, entriesMax: 1000, clock });
  const journal = new Proxy(kept as Journal, {
    get(target, name: keyof Journal) {
      const value = overrides[name] ?? target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const ledger = new QueueLedger('bull', 'q');
  const added: string[] = [];
  const troubles: unknown[] = [];
  const oddAnswers: Error[] = [];
  const refusedAgain: RefusedAgain[] = [];
  /** What Redis answers to an add that it lost and gets again. */
  const again: { answer: (id: string) => Promise<number> } = {
    answer: async (id) => added.push(id) && 0,
  };
  const generation = {
    alive: true,
    client: {
      get: async () => {
        const odd = oddAnswers.pop();
        if (odd) throw odd;
        return `${added.length}`;
      },
      expire: async () => 1,
    },
  } as unknown as Generation;
  const work = (id: string): AddWork => {
    const send = async () => added.push(id) && 0;
    return { jobId: id, bytes: 100, send, sendAgain: () => again.answer(id) };
  };
  const state: { generation: Generation | undefined } = { generation: undefined };
  const shared = {
    clock,
    processId: 'me',
    rollbackWindowMs: WINDOW_MS,
    windowMs: WINDOW_MS,
    generation: () => state.generation,
    ready: async () => undefined,
    compareClocks: async () => undefined,
    isOutage: (error: unknown) => error === CLOSED,
    onTrouble: (_: unknown, error: unknown) => void troubles.push(error),
    restore: () => {
      throw new Error('the window keeps these as they are');
    },
    onWindowFull: () => undefined,
    onRedone: () => undefined,
    onRefusedAgain: (_: unknown, refused: RefusedAgain) => void refusedAgain.push(refused),
  };
  const replayer = new Replayer(
    {
      ...shared,
      ledger: () => ledger,
      workOf: async (_, { jobId }) => work(jobId),
      isRunning: () => false,
      onChange: () => undefined,
      onClear: () => undefined,
    },
    journal,
  );
  const intake = new Intake(
    {
      ...shared,
      enqueueTimeoutMs: TIMEOUT_MS,
      roundTripMs: () => 1,
      isConnecting: () => state.generation === undefined,
      onUnsent: () => undefined,
      onJournaled: () => undefined,
    },
    journal,
    replayer,
  );
  const keep = async (id: string) => {
    const arrived = replayer.expect();
    const place = replayer.nextPlace(ledger);
    await kept.append(jobEntry(ledger, { jobId: id, name: 'n' }, 0, place, 'unsent'));
    arrived(true);
  };
  const accept = (id: string) =>
    intake.accept({
      ledger,
      job: { jobId: id, name: 'n' },
      work: () => work(id),
      isStrict: false,
      refusal: (code) => new Error(`refused: ${code}`),
    });
  const series = new AddSeries(ledger, 'me', shared);
  const connect = () => {
    state.generation = generation;
  };
  return {
    clock,
    kept,
    ledger,
    added,
    troubles,
    oddAnswers,
    refusedAgain,
    again,
    generation,
    replayer,
    intake,
    series,
    work,
    keep,
    accept,
    connect,
  };
}

/** A journal whose jobs cannot be read so many times. */
function unreadable(times: number): Partial<Journal> {
  let left = times;
  return {
    jobs(this: MemoryJournal, ...args) {
      if (left-- > 0) throw new Error('the disk is slow');
      return this.jobs(...args);
    },
  };
}

describe('a replay that fails for another reason than an outage', () => {
  it('is tried again by itself, and told once however much comes meanwhile', async () => {
    const { clock, added, troubles, generation, replayer, keep, connect } = setUp(unreadable(1));
    connect();
    await keep('1');
    replayer.recovered(generation);
    await clock.pass(100);
    await keep('2');
    await clock.pass(100);
    expect(troubles).toHaveLength(1);
    expect(added).toEqual([]);
    await clock.pass(10_000);
    expect(added).toEqual(['1', '2']);
    expect(troubles).toHaveLength(1);
  });

  it('is tried at once by the next recovery, and never after a stop', async () => {
    const { clock, added, troubles, generation, replayer, keep, connect } = setUp(unreadable(2));
    connect();
    await keep('1');
    replayer.recovered(generation);
    await clock.pass(100);
    replayer.recovered(generation);
    await clock.pass(100);
    expect(troubles).toHaveLength(2);
    await replayer.stop();
    await clock.pass(60_000);
    expect(added).toEqual([]);
    expect(clock.pending).toBe(0);
  });
});

it('a replay is clear once an add is decided that never was in the journal, unreadable or not', async () => {
  const { clock, troubles, generation, replayer, connect } = setUp(unreadable(100));
  connect();
  replayer.recovered(generation);
  const decided = replayer.expectDecision();
  await clock.pass(100);
  expect(replayer.isClear).toBe(false);
  decided();
  await clock.pass(100);
  expect(replayer.isClear).toBe(true);
  expect(troubles).toEqual([]);
});

describe('a series of adds that Redis answers oddly', () => {
  it('opens by itself once Redis answers as it should', async () => {
    const { clock, troubles, oddAnswers, generation, series } = setUp();
    oddAnswers.push(new Error('ERR odd'));
    await series.settle(generation);
    expect(troubles).toHaveLength(1);
    expect([series.isOpenIn(generation), series.isStuckIn(generation)]).toEqual([false, true]);
    await clock.pass(30_000);
    expect([series.isOpenIn(generation), series.isStuckIn(generation)]).toEqual([true, false]);
    expect(clock.pending).toBe(0);
  });

  it('is not tried again after a stop', async () => {
    const { clock, oddAnswers, generation, series } = setUp();
    oddAnswers.push(new Error('ERR odd'));
    await series.settle(generation);
    series.stop();
    expect(clock.pending).toBe(0);
  });
});

describe('an intake', () => {
  it('answers within its time when Redis is not there yet and the disk says nothing', async () => {
    const { clock, accept } = setUp({
      append: () => new Promise<number>(() => undefined),
      appendAll: () => new Promise<number[]>(() => undefined),
    });
    let toldAt: number | undefined;
    accept('1').catch(() => {
      toldAt = clock.now();
    });
    await clock.pass(10 * TIMEOUT_MS);
    expect(toldAt).toBeLessThanOrEqual(TIMEOUT_MS);
  });

  it('lets go of a burst when its rollback window has passed, also when nothing follows', async () => {
    const { clock, added, generation, series, work, accept, intake, connect } = setUp();
    connect();
    await series.settle(generation);
    const told = { acted: () => undefined, refused: () => undefined, doubted: () => undefined };
    series.add(generation, work('1'), told);
    await clock.pass(10);
    expect(series.isRemembering).toBe(true);
    series.forgetOld();
    expect(series.isRemembering).toBe(true);
    await clock.pass(WINDOW_MS);
    series.forgetOld();
    expect(series.isRemembering).toBe(false);

    added.length = 0;
    const receipt = accept('2');
    await clock.pass(WINDOW_MS / 2);
    await expect(receipt).resolves.toEqual({ id: '0', stored: 'redis' });
    expect(clock.pending).toBeGreaterThan(0);
    await clock.pass(2 * WINDOW_MS);
    // It looks no more: nothing is remembered.
    expect(clock.pending).toBe(0);
    intake.stop();
  });
});

it('journals what is in doubt in the order of its numbers, whichever request fails first', async () => {
  const { clock, kept, generation, intake, ledger, work, connect } = setUp();
  connect();
  await intake.recovered(generation);
  const accept = (id: string, failsAfterMs: number) => {
    const send = () =>
      new Promise<never>((_, reject) => clock.after(failsAfterMs, () => reject(CLOSED)));
    return intake.accept({
      ledger,
      job: { jobId: id, name: 'n' },
      work: () => ({ ...work(id), send }),
      isStrict: false,
      refusal: (code) => new Error(`refused: ${code}`),
    });
  };
  const receipts = Promise.all([
    accept('1', 20),
    accept('2', 20),
    accept('3', 10),
    accept('4', 20),
  ]);
  await clock.pass(30);
  expect((await receipts).map(({ stored }) => stored)).toEqual(Array(4).fill('journal'));
  const numbers: number[] = [];
  for await (const entry of kept.jobs()) numbers.push(storedJob(entry).place.number);
  expect(numbers).toEqual([1, 2, 3, 4]);
});

it('lets go of an add that was in doubt for longer than the window, once its own window has passed', async () => {
  const { clock, added, generation, intake, ledger, work, connect } = setUp();
  connect();
  await intake.recovered(generation);
  const fenced = () =>
    new Promise<never>((_, reject) => {
      clock.after(WINDOW_MS + 500, () => reject(new Error('FENCED number 0')));
    });
  const kept = intake.accept({
    ledger,
    job: { jobId: '1', name: 'n' },
    work: () => ({ ...work('1'), send: fenced, sendAgain: async () => added.push('1') && '1' }),
    isStrict: false,
    refusal: (code) => new Error(`refused: ${code}`),
  });
  await clock.pass(WINDOW_MS + 600);
  expect(await kept).toEqual({ id: '1', stored: 'journal' });
  expect(added).toEqual(['1']);
  expect(intake.forget(ledger)).toBe(false);
  await clock.pass(2 * WINDOW_MS);
  expect(intake.forget(ledger)).toBe(true);
});

it.each([
  [
    'an error',
    () => Promise.reject(new Error('WRONGTYPE in the middle')),
    'WRONGTYPE in the middle',
  ],
  ['a code', async () => -5, 'BullMQ answered -5'],
])(
  'tells which jobs Redis lost and refuses with %s when they are added again',
  async (_, answer, reason) => {
    const { accept, added, generation, intake, connect, again, refusedAgain } = setUp();
    connect();
    await intake.recovered(generation);
    const ids = Array.from({ length: 150 }, (_, n) => `job-${n}`);
    for (const { stored } of await Promise.all(ids.map(accept))) expect(stored).toBe('redis');
    // A rollback.
    added.length = 0;
    again.answer = (id) => {
      added.push(id);
      return answer();
    };
    await intake.recovered(generation);
    // In one line, however many they are.
    expect(refusedAgain).toEqual([{ jobs: 150, jobIds: ids.slice(0, 100), reason }]);
  },
);
