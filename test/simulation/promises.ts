/** What producers promise, as checks of a world after its story. */
import { existsSync } from 'node:fs';
import { expect } from 'vitest';
import { JournalError, JournalFullError, OutcomeUnknownError } from '../../src/errors.ts';
import { pack, type RefusedEntry } from '../../src/journal/entry.ts';
import { folderOf } from '../../src/journal/folder.ts';
import { ENQUEUE_TIMEOUT_MS } from './producer.ts';
import type { ReplicaLife } from './replica.ts';
import type { Call, ProducerWorld } from './world.ts';

export const QUEUES = ['mail', 'faq'];

/** Acknowledged is added once, or kept as refused; rejected is never added; nothing is added or run twice. */
export async function expectKept(world: ProducerWorld): Promise<void> {
  const added = QUEUES.flatMap((queue) => world.dataset.added(queue));
  expect(new Set(added).size, `added twice: ${duplicates(added)}`).toBe(added.length);
  expect(world.dataset.ranTwice, 'run twice').toEqual([]);
  const there = new Set(added);
  const refused = await refusedIds(world);
  for (const call of world.calls) {
    const { ids, end, shape, isDamaged } = call;
    const [root] = ids as [string];
    if (end === 'acknowledged' && !isDamaged) {
      for (const id of ids) {
        const isKept = there.has(id) || refused.has(shape === 'flow' ? root : id);
        expect(isKept, `job ${id} was acknowledged and lost`).toBe(true);
      }
    }
    if (end === 'rejected') expectNotAdded(call, there);
  }
}

function duplicates(ids: readonly string[]): string[] {
  return ids.filter((id, i) => ids.indexOf(id) !== i);
}

/**
 * Kept apart by a journal with the reason; or its script ran and its answer was lost, of which decision
 * 0007 says that it counts as added, and if a rollback then undid that, its next refusal was told.
 */
async function refusedIds(world: ProducerWorld): Promise<ReadonlySet<string>> {
  const ids = new Set(world.dataset.refused);
  for (const id of world.dataset.toldRefused) {
    expect(world.dataset.refusals.has(id)).toBe(true);
    ids.add(id);
  }
  for (const { life } of world.replicas) {
    for (const entry of await refusedIn(world, life)) {
      expect(entry.reason).toMatch(/answered -5|ERR refused|WRONGTYPE|refused: -5/);
      expect(world.dataset.refusals.has(entry.jobId)).toBe(true);
      ids.add(entry.jobId);
    }
  }
  return ids;
}

async function refusedIn(
  world: ProducerWorld,
  life: ReplicaLife | undefined,
): Promise<RefusedEntry[]> {
  const asked = life?.journal?.refused() ?? Promise.resolve([]);
  // The disk takes its time.
  await world.clock.pass(20);
  return await asked;
}

function expectNotAdded(
  { ids, error, shape, mayComeBack }: Call,
  there: ReadonlySet<string>,
): void {
  if (error instanceof OutcomeUnknownError) return;
  const isJournals = error instanceof JournalError || error instanceof JournalFullError;
  // Of several that go straight to Redis it takes the others.
  const never = isJournals ? ids : ids.slice(-1);
  const named = isJournals ? (error.data.jobIds ?? [error.data.jobId]) : [];
  if (isJournals) expect(named).toEqual(shape === 'flow' ? ids.slice(0, 1) : ids);
  if (isJournals ? !mayComeBack : ids.length === 1) {
    for (const id of never) expect(there.has(id), `job ${id} was rejected and added`).toBe(false);
  }
}

/** None was rejected but by Redis itself, and nothing went wrong that people are told of. */
export function expectAccepted(world: ProducerWorld): void {
  expectTaken(world);
  expect(world.troubles).toEqual([]);
}

/**
 * As `expectAccepted`; but a write that the power cut short over an earlier round of the log cannot be told
 * from damage, so that is reported, and nothing is lost for it.
 */
export function expectAcceptedOrReported(world: ProducerWorld): void {
  expectTaken(world);
  for (const trouble of world.troubles) expect(trouble).toHaveProperty('quarantine');
}

function expectTaken(world: ProducerWorld): void {
  for (const { ids, end, isOrphan, error } of world.calls) {
    if (isOrphan || ids.some((id) => world.dataset.refusals.has(id))) continue;
    expect(end, `jobs ${ids}: ${error}`).toBe('acknowledged');
  }
}

/** Each call had its answer in time, and an error says which jobs it is about. */
export function expectAnswered(world: ProducerWorld): void {
  for (const { ids, end, isOrphan, tookMs, error } of world.calls) {
    if (isOrphan) continue;
    expect(end, `jobs ${ids} have no answer`).toBeDefined();
    expect(tookMs, `jobs ${ids}`).toBeLessThanOrEqual(ENQUEUE_TIMEOUT_MS);
    if (end !== 'rejected') continue;
    const isRefusal = /^refused: -5|^ERR refused|^WRONGTYPE/.test((error as Error).message);
    const isOurs =
      error instanceof OutcomeUnknownError ||
      error instanceof JournalError ||
      error instanceof JournalFullError;
    expect(isOurs || isRefusal, `${error}`).toBe(true);
  }
}

/**
 * Jobs of one process reach a queue in the order in which they were accepted. Not looked at where Redis
 * refused one before its script ran: that one's number is not taken, and those behind it are sent again.
 */
export function expectInOrder(world: ProducerWorld, ownerOf: (call: Call) => unknown): void {
  const owners = new Map<string, unknown>();
  for (const call of world.calls) {
    if (call.end === 'acknowledged') for (const id of call.ids) owners.set(id, ownerOf(call));
  }
  for (const queue of QUEUES) {
    if (world.calls.some((call) => call.queue === queue && isRefusedEarly(world, call))) continue;
    const last = new Map<unknown, number>();
    for (const id of world.dataset.added(queue)) {
      const owner = owners.get(id);
      if (owner === undefined) continue;
      expect(Number(id), `job ${id} came too late`).toBeGreaterThan(last.get(owner) ?? -1);
      last.set(owner, Number(id));
    }
  }
}

function isRefusedEarly({ dataset }: ProducerWorld, { ids }: Call): boolean {
  return ids.some((id) => dataset.refusals.get(id) === 'error');
}

/** Journals hold what Redis refused and nothing else, their counters say so, and nothing is remembered. */
export async function expectEmpty(world: ProducerWorld): Promise<void> {
  for (const { life, name, isGone } of world.replicas) {
    if (isGone) {
      if (world.dir) expect(existsSync(folderOf(world.dir, name).path), 'adopted').toBe(false);
      continue;
    }
    const journal = life!.journal!;
    const refused = await refusedIn(world, life);
    const { entries, outcomes, bytes, ...stats } = journal.stats();
    const expected = refused.reduce((sum, entry) => sum + pack(entry).bytes, 0);
    expect({ entries, outcomes, bytes, refused: stats.refused }, `journal of ${name}`).toEqual({
      entries: 0,
      outcomes: 0,
      bytes: expected,
      refused: refused.length,
    });
    expect(life!.producer!.unforgotten).toEqual([]);
  }
}

/** What is closed in order says that nothing is left, and leaves no timer. */
export async function expectClosed(world: ProducerWorld): Promise<void> {
  const lives = world.replicas.map(({ life }) => life);
  const left = await world.close();
  expect(left, 'left in the journals').toEqual(left.map(() => 0));
  expect(
    lives.map((life) => life?.timers ?? 0),
    'timers',
  ).toEqual(lives.map(() => 0));
}

/** What was promised room and did not need it after all has given it back: the bound is whole again. */
export async function expectRoom(world: ProducerWorld): Promise<void> {
  const [replica] = world.replicas;
  const refused = replica!.life!.journal!.stats().refused;
  const count = world.entriesMax - refused;
  if (count <= 0) return;
  const before = world.calls.length;
  const queue = QUEUES[0]!;
  world.happen({ type: 'enqueue', replica: 0, queue, count, ...STRICT_MANY });
  await world.clock.pass(5000);
  expect(world.calls[before]?.end, 'all that the bound allows').toBe('acknowledged');
}

const STRICT_MANY = { shape: 'many', isStrict: true, refusal: undefined } as const;
