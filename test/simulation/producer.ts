/**
 * Producers with production's intake, series and replayer over a dataset in memory, which does what the
 * numbered script does, loses replies, sleeps, and goes back to an earlier state. A producer that
 * crashes leaves its journal to the next one.
 */
import type { JobEntry } from '../../src/journal/entry.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { MemoryJournal } from '../../src/journal/memory-journal.ts';
import type { AddWork } from '../../src/queue/add-series.ts';
import type { NumberArgs } from '../../src/queue/fenced-scripts.ts';
import type { Generation } from '../../src/queue/generation.ts';
import { Intake } from '../../src/queue/intake.ts';
import { jobEntry } from '../../src/queue/job-store.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';
import { Replayer } from '../../src/queue/replayer.ts';
import type { Clock, Random } from '../../src/time.ts';
import { seededRandom, VirtualClock } from './virtual-clock.ts';

/** How long a producer remembers what Redis acknowledged, ms. */
export const WINDOW_MS = 2000;
export const ENQUEUE_TIMEOUT_MS = 2000;
/** A server that says nothing for so long counts as away, ms. */
const SILENCE_MS = 300;

/** One add that acted. */
interface Effect {
  key: string;
  number: number;
  queue: string;
  id: string;
  at: number;
}

/** The dataset: what acted, in order; a rollback takes the end of it away. */
class Dataset {
  effects: Effect[] = [];
  runId = 1;
  isUp = true;
  isFrozen = false;
  latencyMs = 1;
  readonly #clock: VirtualClock;
  readonly #inbox: (() => void)[] = [];

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  /** As the prelude does: acts only behind its predecessor. */
  add(queue: string, id: string, { key, before, number }: NumberArgs): number {
    const last = this.last(key);
    if (last !== before) throw new Error(`FENCED number ${last}`);
    this.effects.push({ key, number, queue, id, at: this.#clock.now() });
    return 0;
  }

  last(key: string): number {
    return this.effects.findLast((effect) => effect.key === key)?.number ?? 0;
  }

  serve(request: () => void): void {
    if (this.isFrozen) this.#inbox.push(request);
    else if (this.isUp) request();
  }

  thaw(): void {
    this.isFrozen = false;
    for (const request of this.#inbox.splice(0)) request();
  }

  /** Comes back as it was `depthMs` ago. */
  restart(depthMs: number): void {
    this.#inbox.length = 0;
    this.isFrozen = false;
    this.runId += 1;
    const kept = this.#clock.now() - depthMs;
    this.effects = this.effects.filter(({ at }) => at <= kept);
  }
}

/** Requests and replies in order; what was under way when it was cut may still arrive, and late. */
class Connection {
  isAlive = true;
  readonly runId: number;
  readonly #dataset: Dataset;
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #pending = new Set<(error: Error) => void>();
  #travelling = 0;
  #sentLast = 0;
  #arrivedLast = 0;
  /** Once cut: so many more arrive, so much later (ms). */
  #stillArrive = Number.POSITIVE_INFINITY;
  #lateMs = 0;

  constructor(dataset: Dataset, clock: VirtualClock, random: Random) {
    this.#dataset = dataset;
    this.#clock = clock;
    this.#random = random;
    this.runId = dataset.runId;
  }

  request<T>(act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.isAlive) {
        reject(new Error('closed'));
        return;
      }
      this.#pending.add(reject);
      this.#travelling += 1;
      const arrive = () => {
        this.#travelling -= 1;
        if (this.runId === this.#dataset.runId) this.#dataset.serve(() => serve());
      };
      const serve = () => {
        let answer: () => void;
        try {
          const value = act();
          answer = () => resolve(value);
        } catch (error) {
          answer = () => reject(error);
        }
        this.#arrivedLast = this.#after(this.#arrivedLast, () => {
          if (!this.isAlive) return;
          this.#pending.delete(reject);
          answer();
        });
      };
      this.#sentLast = this.#after(this.#sentLast, () => {
        if (this.isAlive) arrive();
        else if (this.#stillArrive-- > 0) this.#clock.after(this.#lateMs, arrive);
      });
    });
  }

  /** In order: not before `last`. @returns when it will be */
  #after(last: number, act: () => void): number {
    const at = Math.max(last, this.#clock.now() + this.#dataset.latencyMs * this.#random());
    this.#clock.after(at - this.#clock.now(), act);
    return at;
  }

  cut(isHeard: boolean): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.#stillArrive = Math.floor(this.#random() * (this.#travelling + 1));
    this.#lateMs = this.#random() < 0.5 ? 0 : this.#random() * 1500;
    if (isHeard) for (const reject of this.#pending) reject(new Error('closed'));
  }
}

/** The journal as one life of a process sees it: writes take a moment, and none follows its death. */
function journalOfLife(kept: MemoryJournal, life: { isDead: boolean }, clock: Clock): Journal {
  let last = Promise.resolve();
  const inTurn = <T>(write: () => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      last = last.then(async () => {
        await new Promise<void>((done) => clock.after(1, done));
        if (life.isDead) return;
        const written = write();
        await new Promise<void>((done) => clock.after(1, done));
        if (!life.isDead) await written.then(resolve, reject);
      });
    });
  return new Proxy(kept as Journal, {
    get(target, name: keyof Journal) {
      if (name === 'append') return (entry: never) => inTurn(() => target.append(entry));
      if (name === 'settle') return (positions: never) => inTurn(() => target.settle(positions));
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** One life of a producer. */
class Producer {
  isDead = false;
  readonly #world: ProducerWorld;
  readonly #intake: Intake;
  readonly #replayer: Replayer;
  readonly #ledgers = new Map<string, QueueLedger>();
  #connection: Connection | undefined;
  #generation: Generation | undefined;
  #runId: number | undefined;

  constructor(world: ProducerWorld, life: number) {
    this.#world = world;
    // Nothing of a dead process happens any more.
    const clock: Clock = {
      now: () => world.clock.now(),
      wall: () => world.clock.wall(),
      after: (ms, fire) => world.clock.after(ms, () => this.isDead || fire()),
    };
    const asked = async (_: unknown, generation: Generation) => {
      await connectionOf(generation).request(() => undefined);
    };
    const journal = journalOfLife(world.journal, this, world.clock);
    const shared = {
      clock,
      processId: `life-${life}`,
      rollbackWindowMs: WINDOW_MS,
      generation: () => this.#generation,
      ready: asked,
      compareClocks: (generation: Generation) => asked(undefined, generation),
      isOutage: (_: unknown, generation: Generation) => generation !== this.#generation,
      onTrouble: (_: unknown, error: unknown) => world.troubles.push(error),
    };
    this.#replayer = new Replayer(
      {
        ...shared,
        ledger: (_, queue) => this.#ledger(queue),
        workOf: async (ledger, { jobId }) => world.work(ledger.queue, jobId),
        // Small, so that a replay is of many pages.
        pageEntries: 4,
        onChange: () => this.#intake.changed(),
        onClear: () => undefined,
        isRunning: () => false,
      },
      journal,
    );
    this.#intake = new Intake(
      {
        ...shared,
        enqueueTimeoutMs: ENQUEUE_TIMEOUT_MS,
        roundTripMs: () => 1,
        isConnecting: () => this.#runId === undefined,
        onUnsent: () => undefined,
        onJournaled: () => undefined,
        onRedone: () => undefined,
        restore: () => {
          throw new Error('the window keeps these as they are');
        },
        onWindowFull: () => undefined,
      },
      journal,
      this.#replayer,
    );
  }

  enqueue(queue: string, id: string, isStrict: boolean): Promise<{ stored: string }> {
    return this.#intake.accept({
      ledger: this.#ledger(queue),
      job: { jobId: id, name: 'job' },
      work: () => this.#world.work(queue, id),
      isStrict,
      refusal: (code) => new Error(`refused: ${code}`),
    });
  }

  /** The breaker closes on a new connection, in the order in which the target does it. */
  connect(): void {
    const { dataset, clock, random } = this.#world;
    if (this.isDead || this.#generation || !dataset.isUp || dataset.isFrozen) return;
    const connection = new Connection(dataset, clock, random);
    const generation = {
      get alive() {
        return connection.isAlive;
      },
      client: {
        get: (key: string) => connection.request(() => `${dataset.last(key)}`),
        expire: async () => 1,
        set: async () => 'OK',
      },
    } as unknown as Generation;
    connections.set(generation, connection);
    this.#connection = connection;
    this.#generation = generation;
    const isSame = this.#runId === dataset.runId;
    this.#runId = dataset.runId;
    if (this.#world.adopt()) this.#replayer.rewind();
    if (!isSame) this.#replayer.rewind();
    void this.#intake.recovered(generation).then(() => this.#replayer.recovered(generation));
    this.#intake.changed();
  }

  /** The breaker opens. */
  disconnect(): void {
    if (this.isDead || !this.#connection) return;
    this.#generation = undefined;
    this.#replayer.interrupted();
    this.#connection.cut(true);
    this.#connection = undefined;
    this.#intake.changed();
  }

  die(): void {
    this.isDead = true;
    this.#generation = undefined;
    this.#connection?.cut(false);
  }

  #ledger(queue: string): QueueLedger {
    let ledger = this.#ledgers.get(queue);
    if (!ledger) {
      ledger = new QueueLedger('bull', queue);
      this.#ledgers.set(queue, ledger);
    }
    return ledger;
  }
}

const connections = new WeakMap<Generation, Connection>();

function connectionOf(generation: Generation): Connection {
  return connections.get(generation)!;
}

/** What happens to a world, each with the time that passes afterwards. */
export type Event =
  | { type: 'enqueue'; queue: string; count: number; isStrict: boolean }
  | { type: 'cut' }
  | { type: 'freeze'; ms: number }
  | { type: 'slow'; latencyMs: number }
  | { type: 'rollback'; depthMs: number; awayMs: number }
  | { type: 'crash'; awayMs: number }
  /** Another replica dies for good and leaves its journal to the next recovery. */
  | { type: 'leave'; queue: string; count: number };

interface Asked {
  id: string;
  queue: string;
  /** Accepted by a replica that is gone. */
  isAdopted: boolean;
  end: 'acknowledged' | 'rejected' | undefined;
  /** Nobody is left to hear the answer. */
  isOrphan: boolean;
  tookMs: number | undefined;
}

export class ProducerWorld {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly dataset = new Dataset(this.clock);
  readonly journal = new MemoryJournal({
    bytesMax: 2 ** 30,
    entriesMax: 1e6,
    clock: this.clock,
  });
  readonly asked: Asked[] = [];
  readonly troubles: unknown[] = [];
  readonly #orphaned: JobEntry[] = [];
  #replicasGone = 0;
  #lives = 1;
  #producer: Producer | undefined;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.#producer = new Producer(this, 1);
    this.#reconnect();
  }

  work(queue: string, id: string): AddWork {
    const send = (generation: Generation, number: NumberArgs) =>
      connectionOf(generation).request(() => this.dataset.add(queue, id, number));
    return { bytes: 100, send, sendAgain: send };
  }

  happen(event: Event): void {
    switch (event.type) {
      case 'enqueue':
        for (let i = 0; i < event.count; i += 1) this.#enqueue(event.queue, event.isStrict);
        return;
      case 'cut':
        this.#producer?.disconnect();
        this.#reconnect();
        return;
      case 'freeze':
        this.#freeze(event.ms);
        return;
      case 'slow':
        this.dataset.latencyMs = event.latencyMs;
        return;
      case 'rollback':
        this.dataset.restart(event.depthMs);
        this.dataset.isUp = false;
        this.#producer?.disconnect();
        this.clock.after(event.awayMs, () => {
          this.dataset.isUp = true;
          this.#reconnect();
        });
        return;
      case 'crash':
        this.#producer?.die();
        this.#producer = undefined;
        for (const asked of this.asked) asked.isOrphan ||= asked.end === undefined;
        this.clock.after(event.awayMs, () => this.#start());
        return;
      case 'leave':
        for (let i = 1; i <= event.count; i += 1) this.#leave(event.queue, i);
        this.#replicasGone += 1;
    }
  }

  #leave(queue: string, number: number): void {
    const id = `${this.asked.length}`;
    this.asked.push({
      id,
      queue,
      isAdopted: true,
      end: 'acknowledged',
      isOrphan: false,
      tookMs: 0,
    });
    const ledger = new QueueLedger('bull', queue);
    const place = { key: ledger.key(`replay:replica-${this.#replicasGone}`), number };
    this.#orphaned.push(jobEntry(ledger, { jobId: id, name: 'job' }, 0, place, 'unsent'));
  }

  /** Whether anything came. */
  adopt(): boolean {
    const orphaned = this.#orphaned.splice(0);
    // Kept at once, in memory.
    for (const entry of orphaned) void this.journal.append(entry);
    return orphaned.length > 0;
  }

  /** All is well again, for long enough. */
  async heal(): Promise<void> {
    this.dataset.latencyMs = 1;
    this.happen({ type: 'cut' });
    await this.clock.pass(30_000);
  }

  /** Ids of a queue in the order in which they were added. */
  added(queue: string): string[] {
    return this.dataset.effects.filter((effect) => effect.queue === queue).map(({ id }) => id);
  }

  #enqueue(queue: string, isStrict: boolean): void {
    if (!this.#producer) return;
    const id = `${this.asked.length}`;
    const asked: Asked = {
      id,
      queue,
      isAdopted: false,
      end: undefined,
      isOrphan: false,
      tookMs: undefined,
    };
    this.asked.push(asked);
    const at = this.clock.now();
    const ended = (end: 'acknowledged' | 'rejected') => {
      if (asked.isOrphan) return;
      asked.end = end;
      asked.tookMs = this.clock.now() - at;
    };
    this.#producer.enqueue(queue, id, isStrict).then(
      () => ended('acknowledged'),
      () => ended('rejected'),
    );
  }

  #start(): void {
    if (this.#producer) return;
    this.#lives += 1;
    this.#producer = new Producer(this, this.#lives);
    this.#reconnect();
  }

  #reconnect(): void {
    this.clock.after(20 + this.random() * 400, () => this.#producer?.connect());
  }

  #freeze(ms: number): void {
    if (this.dataset.isFrozen) return;
    this.dataset.isFrozen = true;
    const { runId } = this.dataset;
    if (ms > SILENCE_MS) this.clock.after(SILENCE_MS, () => this.#producer?.disconnect());
    this.clock.after(ms, () => {
      if (this.dataset.runId === runId) this.dataset.thaw();
      this.#reconnect();
    });
  }
}
