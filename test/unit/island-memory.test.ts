/** What is in memory of jobs that run from the journal, however many run in one outage. */
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { JournalFullError } from '../../src/errors.ts';
import type { JobEntry, Kept, OutcomeEntry, Position } from '../../src/journal/entry.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { MemoryJournal } from '../../src/journal/memory-journal.ts';
import type { Generation } from '../../src/queue/generation.ts';
import { Islands } from '../../src/queue/island.ts';
import { loadOutcomes } from '../../src/queue/island-found.ts';
import { newJobId } from '../../src/queue/job-id.ts';
import { jobEntry } from '../../src/queue/job-store.ts';
import type { HeldJob } from '../../src/queue/ledger.ts';
import { Ledgers } from '../../src/queue/ledgers.ts';
import { Settlements } from '../../src/queue/settlements.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

const JOBS = 3000;
const SLOTS = 10;

/** One life of a process that never sees Redis again, on a journal that may outlive it. */
async function life(journal: Journal, clock: VirtualClock, log = pino({ level: 'silent' })) {
  const ledgers = new Ledgers(clock, () => true);
  const ledger = ledgers.of('bull', 'q');
  const settlements = new Settlements(journal, clock, 10_000, log);
  const unlimited = { client: { hmget: async () => [null, null, null] } } as unknown as Generation;
  const islands = new Islands({
    clock,
    journal,
    log,
    ledger: (prefix, queue) => ledgers.of(prefix, queue),
    isAway: () => true,
    generation: () => unlimited,
    touched: () => 0,
    isOutage: () => true,
  });
  islands.enable(ledger);
  await clock.pass(0);
  let most = 0;
  return {
    islands,
    ledger,
    load: () => loadOutcomes({ journal, ledgers, settlements, islands }),
    /** The most jobs and outcomes that were in memory at once. */
    most: () => most,
    async accept(count: number) {
      const entries = Array.from({ length: count }, (_, i) => {
        const job = { name: 'n', data: '{}', opts: {}, timestamp: clock.wall() } as never;
        const accepted = { jobId: newJobId(), name: 'n', single: { job, parent: {} } };
        return jobEntry(ledger, accepted, clock.wall(), { key: 'k', number: i + 1 }, 'unsent');
      });
      for (const position of await journal.appendAll(entries)) islands.kept(ledger, position);
    },
    /** As a Worker would: so many at once, until no other begins. */
    async run(): Promise<number> {
      let runs = 0;
      for (;;) {
        while (ledger.held.size < SLOTS && (await islands.take(ledger, `${runs}`, 'worker')))
          runs += 1;
        if (ledger.held.size === 0) return runs;
        most = Math.max(most, ledger.held.size + ledger.unsettled.size + islands.inMemory);
        await Promise.all([...ledger.held.values()].map((job) => end(job)));
        most = Math.max(most, ledger.held.size + ledger.unsettled.size + islands.inMemory);
      }
    },
  };

  async function end(job: HeldJob): Promise<void> {
    const args = [
      ...Array(14).fill('key'),
      job.id,
      1,
      'returnvalue',
      '"r"',
      'completed',
      0,
      'p',
      '',
    ];
    const settlement = { job, command: 'moveToFinished', args };
    await settlements.keep(ledger, settlement);
    islands.ended(settlement);
  }
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

function memory(clock: VirtualClock): MemoryJournal {
  return new MemoryJournal({ bytesMax: 2 ** 26, entriesMax: 10 * JOBS, clock });
}

/** A journal whose disk is full for what `refuses` says. */
function refusing(journal: Journal, refuses: (name: keyof Journal) => boolean): Journal {
  return new Proxy<Journal>(journal, {
    get(target, name: keyof Journal) {
      if (refuses(name)) return () => Promise.reject(new JournalFullError('/j', 'is full'));
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('jobs that run from the journal', () => {
  it('are in memory while they run, and only their places once the journal has how they ended', async () => {
    const clock = new VirtualClock();
    const journal = memory(clock);
    const { accept, run, most, ledger, islands } = await life(journal, clock);
    await accept(JOBS);
    expect(await run()).toBe(JOBS);
    expect(journal.stats().outcomes).toBe(JOBS);
    expect(most()).toBeLessThanOrEqual(3 * SLOTS);
    expect(ledger.unsettled.size).toBe(0);
    expect(islands.ends.size).toBe(JOBS);
    expect(await run()).toBe(0);
  });

  it('stay on disk when the next life finds them, which knows where they are and runs none of them', async () => {
    const clock = new VirtualClock();
    const journal = memory(clock);
    const before = await life(journal, clock);
    await before.accept(JOBS);
    await before.run();
    const { load, run, ledger, islands } = await life(journal, clock);
    await load();
    await load();
    expect(ledger.unsettled.size).toBe(0);
    expect(islands.ends.size).toBe(JOBS);
    expect(await run()).toBe(0);
    const page: Kept<JobEntry>[] = [];
    for await (const entry of journal.jobs()) if (page.push(entry) === 256) break;
    expect((await islands.ends.worksOf(page)).size).toBe(256);
  });

  it('are told by their outcomes where their entries came out of damaged files', async () => {
    const clock = new VirtualClock();
    const journal = memory(clock);
    const before = await life(journal, clock);
    await before.accept(2);
    await before.run();
    const places: Position[] = [];
    for await (const { position } of journal.jobs()) places.push(position);
    await journal.mark(places, 'doubtful');
    // The second had come to Redis before it ran.
    let second: Kept<OutcomeEntry> | undefined;
    for await (const entry of journal.outcomes()) second = entry;
    const payload = JSON.parse(second!.args);
    delete payload.job.processedOn;
    await journal.settle([second!.position]);
    await journal.append({ ...second!, args: JSON.stringify(payload) });
    const { load, ledger, islands } = await life(journal, clock);
    await load();
    expect(places.map((position) => islands.ends.has(position))).toEqual([true, false]);
    expect([...ledger.unsettled.keys()]).toEqual([second!.jobId]);
  });

  it('come to Redis with what the journal has of them, also where an earlier build wrote less', async () => {
    const clock = new VirtualClock();
    const journal = memory(clock);
    const { accept, run, islands, ledger } = await life(journal, clock);
    await accept(2);
    await run();
    const [, older] = await all(journal.outcomes());
    const payload = JSON.parse(older!.args);
    expect(payload.job.hash).toEqual({ pb: 'worker' });
    delete payload.job.hash;
    await journal.settle([older!.position]);
    const end = await journal.append({ ...older!, args: JSON.stringify(payload) });
    const page = await all(journal.jobs());
    islands.ends.add(page[1]!.position, end);
    const sent: unknown[][] = [];
    const generation = {
      script: async (_name: string, args: unknown[]) => void sent.push(args),
    } as unknown as Generation;
    for (const { work } of (await islands.ends.worksOf(page)).values()) {
      await work().send(generation, { key: 'k', before: 0, number: 1 });
    }
    const claimed = sent.map((args) => args.slice(args.indexOf('island-claim')));
    expect(claimed.map((args) => args.includes('pb'))).toEqual([true, false]);
    for (const args of claimed) expect(args).toContain('processedOn');
    expect(ledger.unsettled.size).toBe(0);
  });

  it('stop beginning when the journal does not take how they end, since memory must', async () => {
    const clock = new VirtualClock();
    const journal = refusing(memory(clock), (name) => name === 'append');
    const { accept, run, ledger } = await life(journal, clock);
    await accept(JOBS);
    const runs = await run();
    expect(runs).toBeLessThanOrEqual(100 + SLOTS);
    expect(ledger.unsettled.size).toBe(runs);
  });

  it('begin once the journal takes that they run, however often it did not; said once', async () => {
    const clock = new VirtualClock();
    let isFull = true;
    const journal = refusing(memory(clock), (name) => name === 'mark' && isFull);
    const lines: string[] = [];
    const log = pino({ level: 'error' }, { write: (line) => lines.push(line) });
    const { accept, run } = await life(journal, clock, log);
    await accept(5);
    for (let turn = 0; turn < 10; turn += 1) {
      expect(await run()).toBe(0);
      await clock.pass(1000);
    }
    isFull = false;
    expect(await run()).toBe(5);
    expect(lines.map((line) => JSON.parse(line).event)).toEqual(['island.halted']);
  });

  it('begin once the journal can be read, where it failed in the middle of a page', async () => {
    const clock = new VirtualClock();
    const kept = memory(clock);
    let isBroken = true;
    const journal = new Proxy<Journal>(kept, {
      get(target, name: keyof Journal) {
        if (name === 'jobs' && isBroken) return () => twoOf(kept);
        const value = target[name];
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const { accept, run } = await life(journal, clock);
    await accept(5);
    expect(await run()).toBe(0);
    isBroken = false;
    await clock.pass(1000);
    expect(await run()).toBe(5);
  });
});

async function* twoOf(journal: Journal): AsyncGenerator<Kept<JobEntry>> {
  let count = 0;
  for await (const entry of journal.jobs()) {
    if (count === 2) break;
    count += 1;
    yield entry;
  }
  throw new JournalFullError('/j', 'is full');
}
