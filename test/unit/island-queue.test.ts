/** What a queue may run from the journal and when, without Redis and on a clock of its own. */
import { describe, expect, it } from 'vitest';
import { MemoryJournal } from '../../src/journal/memory-journal.ts';
import { IslandLater } from '../../src/queue/island-later.ts';
import { IslandQueue } from '../../src/queue/island-queue.ts';
import { newJobId } from '../../src/queue/job-id.ts';
import { jobEntry } from '../../src/queue/job-store.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

function setUp(laterMax?: number) {
  const clock = new VirtualClock();
  const journal = new MemoryJournal({ bytesMax: 2 ** 26, entriesMax: 10_000, clock });
  const ledger = new QueueLedger('bull', 'q');
  let full = 0;
  const queue = new IslandQueue(ledger, {
    clock,
    journal,
    mayRun: () => true,
    onLaterFull: () => {
      full += 1;
    },
    ...(laterMax === undefined ? {} : { laterMax }),
  });
  queue.refusal = undefined;
  let number = 0;
  return {
    clock,
    journal,
    queue,
    full: () => full,
    async keep(name: string, opts: { delay?: number; priority?: number } = {}) {
      const jobId = newJobId();
      const job = { name, data: '{}', opts, timestamp: clock.wall() } as never;
      number += 1;
      const accepted = { jobId, name, single: { job, parent: {} } };
      const place = { key: 'k', number };
      const entry = jobEntry(ledger, accepted, clock.wall(), place, 'unsent');
      queue.offer(await journal.append(entry));
    },
    /** Names of what may run now, in order. */
    async ready(): Promise<string[]> {
      const names: string[] = [];
      while (queue.hasWork) {
        await queue.read();
        for (let next = queue.ready(); next; next = queue.ready()) names.push(next.entry.name);
      }
      return names;
    },
  };
}

describe('delayed jobs of a queue in island mode', () => {
  it('are ready at their time and not before, the soonest first', async () => {
    const { clock, keep, ready } = setUp();
    await keep('late', { delay: 5000 });
    await keep('now');
    await keep('soon', { delay: 1000 });
    expect(await ready()).toEqual(['now']);
    await clock.pass(999);
    expect(await ready()).toEqual([]);
    await clock.pass(1);
    expect(await ready()).toEqual(['soon']);
    await clock.pass(10_000);
    expect(await ready()).toEqual(['late']);
    expect(await ready()).toEqual([]);
  });

  it('wake whoever waits for work when the first of them is due', async () => {
    const { clock, keep, ready, queue } = setUp();
    await keep('soon', { delay: 1000 });
    await ready();
    let isWoken = false;
    void queue.work(new AbortController().signal).then(() => {
      isWoken = true;
    });
    await clock.pass(999);
    expect(isWoken).toBe(false);
    await clock.pass(1);
    expect(isWoken).toBe(true);
  });

  it('can wait for longer than a timer', async () => {
    const { clock, keep, ready, queue } = setUp();
    const delay = 40 * 24 * 3_600_000;
    await keep('next month', { delay });
    await ready();
    const looks: number[] = [];
    const after = clock.after.bind(clock);
    clock.after = (delayMs, fire) => {
      looks.push(delayMs);
      return after(delayMs, fire);
    };
    const over = new AbortController();
    void queue.work(over.signal);
    expect(Math.max(...looks)).toBeLessThan(2 ** 31);
    over.abort();
    await clock.pass(delay);
    expect(await ready()).toEqual(['next month']);
  });

  it('come behind what was read, and the more urgent of them first', async () => {
    const { clock, keep, ready, queue } = setUp();
    await keep('less', { delay: 10, priority: 5 });
    await keep('more', { delay: 20, priority: 2 });
    await keep('most', { delay: 30 });
    await ready();
    await keep('plain');
    await queue.read();
    await clock.pass(50);
    expect(await ready()).toEqual(['plain', 'most', 'more', 'less']);
  });

  it('are left alone once the replay has touched them', async () => {
    const { clock, keep, ready, journal } = setUp();
    await keep('soon', { delay: 1000 });
    await ready();
    for await (const { position } of journal.jobs()) await journal.mark([position], 'sent');
    await clock.pass(1000);
    expect(await ready()).toEqual([]);
  });

  it('are forgotten when Redis is back', async () => {
    const { clock, keep, ready, queue } = setUp();
    await keep('soon', { delay: 1000 });
    await ready();
    queue.clear();
    await clock.pass(1000);
    expect(await ready()).toEqual([]);
  });

  it('are ready once each although the journal is read again from before them', async () => {
    const { clock, keep, ready, queue } = setUp();
    for (let i = 0; i < 3; i += 1) await keep(`${i}`, { delay: 1000 });
    await ready();
    queue.offer(1);
    await ready();
    await clock.pass(1000);
    expect(await ready()).toEqual(['0', '1', '2']);
  });

  it('take a bounded place in memory: those beyond it wait for Redis, and that is said once', async () => {
    const { clock, keep, ready, full } = setUp(1000);
    for (let i = 0; i < 3000; i += 1) await keep(`${i}`, { delay: 1000 });
    expect(await ready()).toEqual([]);
    expect(full()).toBe(1);
    await clock.pass(1000);
    expect(await ready()).toHaveLength(1000);
  });

  it('come off their list in the order of their times', () => {
    const later = new IslandLater();
    const times = Array.from({ length: 500 }, (_, i) => (i * 7919) % 1009);
    for (const [position, dueAt] of times.entries()) later.add(position, dueAt);
    expect(later.takeDue(99, 1000).every(({ dueAt }) => dueAt <= 99)).toBe(true);
    const rest = later.takeDue(2000, 1000).map(({ dueAt }) => dueAt);
    expect(rest).toEqual(times.filter((dueAt) => dueAt > 99).sort((a, b) => a - b));
    expect(later.nextDueAt).toBeUndefined();
  });

  it('that fall due all the time hold nothing up that is not delayed', async () => {
    const { clock, keep, queue } = setUp();
    for (let i = 0; i < 600; i += 1) await keep(`later ${i}`, { delay: 10 });
    while (queue.hasWork) await queue.read();
    await clock.pass(10);
    await keep('plain');
    let taken = 0;
    for (;;) {
      await queue.read();
      taken += 1;
      if (queue.ready()!.entry.name === 'plain') break;
    }
    expect(taken).toBeLessThanOrEqual(257);
  });
});
