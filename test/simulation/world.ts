/**
 * Replicas that enqueue to one Redis, and what happens to all of them: a story of events, then better
 * weather, and a record of what each call was told.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Random } from '../../src/time.ts';
import { Dataset, type Refusal } from './dataset.ts';
import { Replica, type ReplicaLife } from './replica.ts';
import { seededRandom, VirtualClock } from './virtual-clock.ts';

/** A server that says nothing for so long counts as away, ms. */
const SILENCE_MS = 300;

export interface WorldOptions {
  journal: 'disk' | 'memory';
  replicas: 1 | 2;
  /** Bound of each journal. */
  entriesMax: number;
}

/** What happens to a world. `replica` as a number, of which the remainder counts. */
export type Event =
  | {
      type: 'enqueue';
      replica: number;
      queue: string;
      count: number;
      shape: 'each' | 'many' | 'flow';
      isStrict: boolean;
      /** Redis refuses the last of them for good. */
      refusal: Refusal | undefined;
    }
  | { type: 'cut'; replica: number }
  | { type: 'freeze'; ms: number }
  | { type: 'slow'; latencyMs: number }
  | { type: 'rollback'; depthMs: number; awayMs: number }
  /** Workers run what there is and remove it. */
  | { type: 'consume' }
  | { type: 'crash'; replica: number; awayMs: number }
  /** The power goes in the middle of the next write to the journal. */
  | { type: 'power loss'; replica: number }
  /** Dies for good, as long as another replica lives. */
  | { type: 'leave'; replica: number }
  | { type: 'restart'; replica: number; awayMs: number }
  | { type: 'disk hangs'; replica: number; ms: number }
  | { type: 'disk fails'; replica: number; ms: number }
  | { type: 'damage'; replica: number };

/** One call and what became of it. */
export interface Call {
  ids: readonly string[];
  queue: string;
  shape: 'each' | 'many' | 'flow';
  life: ReplicaLife;
  replica: Replica;
  end: 'acknowledged' | 'rejected' | undefined;
  error: unknown;
  tookMs: number | undefined;
  endedAt: number;
  /** The process died before it answered. */
  isOrphan: boolean;
  /** Rejected, and the process died before its disk had come to it: it may come back. */
  mayComeBack: boolean;
  /** Its entry was damaged on disk. */
  isDamaged: boolean;
}

/** In memory, where that is a folder: a real fsync is of no use here. */
const PLACE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
/** After a power loss, ms. */
const BOOT_MS = 200;

export class ProducerWorld {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly dataset = new Dataset(this.clock);
  readonly replicas: readonly Replica[];
  readonly calls: Call[] = [];
  readonly troubles: unknown[] = [];
  /** Of closes in order: what they said is left. */
  readonly left: number[] = [];
  readonly dir: string | undefined;
  readonly entriesMax: number;
  #ids = 0;

  constructor(seed: number, { journal, replicas, entriesMax }: WorldOptions) {
    this.random = seededRandom(seed);
    this.entriesMax = entriesMax;
    this.dir = journal === 'disk' ? mkdtempSync(join(PLACE, 'holdfast-world-')) : undefined;
    this.replicas = ['a', 'b'].slice(0, replicas).map((name) => {
      const replica: Replica = new Replica({
        name,
        dir: this.dir,
        entriesMax,
        clock: this.clock,
        random: this.random,
        dataset: this.dataset,
        onTrouble: (error) => this.troubles.push(error),
        onPowerLoss: () => this.#crash(replica, BOOT_MS),
      });
      return replica;
    });
    for (const replica of this.replicas) this.#start(replica);
  }

  happen(event: Event): void {
    const replica = 'replica' in event ? this.#replica(event.replica) : undefined;
    switch (event.type) {
      case 'enqueue':
        this.#enqueue(replica!, event);
        return;
      case 'cut':
        replica!.producer?.disconnect();
        this.#reconnect(replica!);
        return;
      case 'freeze':
        this.#freeze(event.ms);
        return;
      case 'slow':
        this.dataset.latencyMs = event.latencyMs;
        return;
      case 'rollback':
        this.#rollBack(event.depthMs, event.awayMs);
        return;
      case 'consume':
        this.dataset.consume();
        return;
      case 'crash':
        this.#crash(replica!, event.awayMs);
        return;
      case 'power loss':
        replica!.disk.isTorn = true;
        return;
      case 'leave':
        this.#leave(replica!);
        return;
      case 'restart':
        void this.#restart(replica!, event.awayMs);
        return;
      case 'disk hangs':
        replica!.disk.hangsUntil = this.clock.now() + event.ms;
        return;
      case 'disk fails':
        replica!.disk.failsUntil = this.clock.now() + event.ms;
        return;
      case 'damage':
        this.#damage(replica!);
    }
  }

  /** All is well again, for long enough. */
  async heal(): Promise<void> {
    this.dataset.latencyMs = 1;
    for (const { disk } of this.replicas) {
      disk.hangsUntil = 0;
      disk.failsUntil = 0;
      disk.isTorn = false;
    }
    for (const replica of this.replicas) {
      this.#start(replica);
      replica.producer?.disconnect();
      this.#reconnect(replica);
    }
    await this.clock.pass(30_000);
  }

  /** Each is closed in order and comes back. */
  async restart(): Promise<void> {
    for (const replica of this.replicas) void this.#restart(replica, 10);
    await this.clock.pass(30_000);
  }

  /** For good. @returns what each said is left */
  async close(): Promise<number[]> {
    const before = this.left.length;
    for (const replica of this.replicas) void this.#close(replica);
    await this.clock.pass(1000);
    return this.left.slice(before);
  }

  remove(): void {
    for (const replica of this.replicas) replica.kill();
    if (this.dir !== undefined) rmSync(this.dir, { recursive: true, force: true });
  }

  #replica(number: number): Replica {
    return this.replicas[number % this.replicas.length]!;
  }

  #enqueue(replica: Replica, event: Extract<Event, { type: 'enqueue' }>): void {
    const { count, refusal, shape } = event;
    if (!replica.producer) return;
    const ids = Array.from({ length: count }, () => `${this.#ids++}`);
    // Of a flow the root decides.
    if (refusal) this.dataset.refusals.set(shape === 'flow' ? ids[0]! : ids.at(-1)!, refusal);
    if (shape === 'each') for (const id of ids) this.#call(replica, event, [id]);
    else this.#call(replica, event, ids);
  }

  #call(
    replica: Replica,
    { queue, shape, isStrict }: Extract<Event, { type: 'enqueue' }>,
    ids: readonly string[],
  ): void {
    const call: Call = {
      ids,
      queue,
      shape,
      life: replica.life!,
      replica,
      end: undefined,
      error: undefined,
      tookMs: undefined,
      endedAt: 0,
      isOrphan: false,
      mayComeBack: false,
      isDamaged: false,
    };
    this.calls.push(call);
    const at = this.clock.now();
    const ended = (end: Call['end'], error?: unknown) => {
      if (call.life.isDead) return;
      Object.assign(call, { end, error, tookMs: this.clock.now() - at, endedAt: this.clock.now() });
    };
    const how = shape === 'flow' ? 'flow' : 'many';
    replica.producer!.enqueue({ queue, ids, shape: how, isStrict }).then(
      () => ended('acknowledged'),
      (error) => ended('rejected', error),
    );
  }

  #start(replica: Replica): void {
    replica.start().then(
      () => this.#reconnect(replica),
      (error) => this.troubles.push(error),
    );
  }

  #reconnect({ life }: Replica): void {
    this.clock.after(20 + this.random() * 400, () => {
      if (!life?.isDead) life?.producer?.connect();
    });
  }

  #freeze(ms: number): void {
    if (this.dataset.isFrozen) return;
    this.dataset.isFrozen = true;
    const { runId } = this.dataset;
    for (const replica of this.replicas) {
      if (ms > SILENCE_MS) this.clock.after(SILENCE_MS, () => replica.producer?.disconnect());
      this.clock.after(ms, () => this.#reconnect(replica));
    }
    this.clock.after(ms, () => {
      if (this.dataset.runId === runId) this.dataset.thaw();
    });
  }

  #rollBack(depthMs: number, awayMs: number): void {
    this.dataset.restart(depthMs);
    this.dataset.isUp = false;
    for (const replica of this.replicas) replica.producer?.disconnect();
    this.clock.after(awayMs, () => {
      this.dataset.isUp = true;
      for (const replica of this.replicas) this.#reconnect(replica);
    });
  }

  #crash(replica: Replica, awayMs: number): void {
    this.#died(replica.kill());
    this.clock.after(awayMs, () => this.#start(replica));
  }

  #leave(replica: Replica): void {
    if (this.replicas.every((other) => other === replica || other.isGone)) return;
    replica.isGone = true;
    this.#died(replica.kill());
  }

  /** Nobody hears any more of what was not answered. */
  #died(life: ReplicaLife | undefined): void {
    for (const call of this.calls) {
      if (call.life === life) call.isOrphan ||= call.end === undefined;
    }
    this.#ended(life);
  }

  #ended(life: ReplicaLife | undefined): void {
    const idleAt = life?.thread?.idleAt ?? 0;
    for (const call of this.calls) {
      if (call.life !== life || call.end !== 'rejected') continue;
      call.mayComeBack ||= idleAt <= call.endedAt || life?.thread?.owesRemovals === true;
    }
  }

  async #restart(replica: Replica, awayMs: number): Promise<void> {
    await this.#close(replica);
    if (replica.life) return;
    this.clock.after(awayMs, () => this.#start(replica));
  }

  async #close(replica: Replica): Promise<void> {
    const { life } = replica;
    const left = await replica.close();
    if (left === undefined) return;
    this.left.push(left);
    this.#ended(life);
  }

  #damage(replica: Replica): void {
    const id = replica.life?.thread?.damage();
    if (id === undefined) return;
    for (const call of this.calls) call.isDamaged ||= call.ids.includes(id);
  }
}
