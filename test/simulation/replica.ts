/**
 * One replica: a folder, a disk, and one life after the other over it. Over a journal in memory the store
 * outlives the process instead of the files.
 */
import { openDiskJournal } from '../../src/journal/disk-journal.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { MemoryJournal } from '../../src/journal/memory-journal.ts';
import type { Clock, Random } from '../../src/time.ts';
import type { Dataset } from './dataset.ts';
import { Disk, DiskThread, type Life } from './disk-thread.ts';
import { Producer } from './producer.ts';
import type { VirtualClock } from './virtual-clock.ts';

export interface ReplicaOptions {
  name: string;
  /** Where the folders are; undefined: in memory. */
  dir: string | undefined;
  entriesMax: number;
  clock: VirtualClock;
  random: Random;
  dataset: Dataset;
  onTrouble(error: unknown): void;
  /** The process ended by itself. */
  onPowerLoss(): void;
}

/** A request to the disk may take so long, ms; longer than an enqueue. */
const REPLY_MS = 3000;
const BYTES_MAX = 2 ** 30;
/** Small, so that few jobs are many transactions and many pages. */
const SIZES = { commitEntries: 2, eagerEntries: 3, pageEntries: 3 };

let lives = 0;

/** One process of a replica, from its start to its death. */
export class ReplicaLife implements Life {
  isDead = false;
  isClosing = false;
  readonly number: number;
  readonly random: Random;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly onPowerLoss: () => void;
  producer: Producer | undefined;
  journal: Journal | undefined;
  thread: DiskThread | undefined;
  /** Timers that wait. */
  timers = 0;

  constructor({ clock, random, onPowerLoss }: ReplicaOptions, disk: Disk) {
    lives += 1;
    this.number = lives;
    this.random = random;
    this.disk = disk;
    this.onPowerLoss = onPowerLoss;
    this.clock = {
      now: () => clock.now(),
      wall: () => clock.wall(),
      after: (ms, fire) => {
        this.timers += 1;
        let isOver = false;
        const cancel = clock.after(ms, () => {
          isOver = true;
          this.timers -= 1;
          if (!this.isDead) fire();
        });
        return () => {
          if (!isOver) this.timers -= 1;
          isOver = true;
          cancel();
        };
      },
    };
  }
}

export class Replica {
  readonly name: string;
  readonly disk = new Disk();
  life: ReplicaLife | undefined;
  /** It never comes back: others take over what it left. */
  isGone = false;
  readonly #options: ReplicaOptions;
  readonly #memory: MemoryJournal | undefined;

  constructor(options: ReplicaOptions) {
    this.name = options.name;
    this.#options = options;
    const { dir, entriesMax, clock } = options;
    if (dir === undefined) {
      this.#memory = new MemoryJournal({ bytesMax: BYTES_MAX, entriesMax, clock });
    }
  }

  get producer(): Producer | undefined {
    return this.life?.isClosing ? undefined : this.life?.producer;
  }

  async start(): Promise<void> {
    if (this.life || this.isGone) return;
    const { clock: outside, random, dataset, onTrouble } = this.#options;
    const life = new ReplicaLife(this.#options, this.disk);
    this.life = life;
    const journal = await this.#open(life);
    if (life.isDead) return;
    life.journal = journal;
    const { clock, number } = life;
    const processId = `life-${number}`;
    life.producer = new Producer({
      outside,
      clock,
      random,
      dataset,
      processId,
      journal,
      onTrouble,
    });
  }

  async #open(life: ReplicaLife): Promise<Journal> {
    const { dir, entriesMax, onTrouble } = this.#options;
    if (this.#memory) return journalOfLife(this.#memory, life);
    const log = { warn: () => undefined, error: (fields: object) => onTrouble(fields) };
    return await openDiskJournal(
      {
        dir: dir!,
        replica: this.name,
        mode: 'disk',
        bytesMax: BYTES_MAX,
        entriesMax,
        clock: life.clock,
        log,
        ownWaitMs: 0,
        replyMs: REPLY_MS,
        sizes: SIZES,
      },
      (options) => {
        life.thread = new DiskThread(options, life);
        return life.thread;
      },
    );
  }

  /** At this very moment. @returns the life that ended */
  kill(): ReplicaLife | undefined {
    const { life } = this;
    if (!life) return undefined;
    life.isDead = true;
    life.producer?.die();
    life.thread?.die();
    this.life = undefined;
    return life;
  }

  /** In order; undefined if it was killed meanwhile. @returns entries that Redis may not have */
  async close(): Promise<number | undefined> {
    const { life } = this;
    if (!life?.producer || life.isClosing) return undefined;
    life.isClosing = true;
    const left = await life.producer.close();
    if (life.isDead) return undefined;
    this.life = undefined;
    return left;
  }
}

/** The journal in memory as one life of a process sees it: writes take a moment, and none follows its death. */
function journalOfLife(kept: MemoryJournal, life: ReplicaLife): Journal {
  let last = Promise.resolve();
  const inTurn = <T>(write: () => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      last = last.then(async () => {
        await new Promise<void>((done) => life.clock.after(1, done));
        if (life.isDead) return;
        const written = write();
        await new Promise<void>((done) => life.clock.after(1, done));
        await written.then(resolve, reject);
      });
    });
  const inTurnOnly = ['append', 'appendAll', 'settle', 'mark', 'refuse'] as const;
  return new Proxy(kept as Journal, {
    get(target, name: keyof Journal) {
      // The next life has the same journal.
      if (name === 'close') return () => inTurn(async () => ({ left: target.stats().entries }));
      const value = target[name];
      if (typeof value !== 'function') return value;
      const method = value.bind(target) as (...args: unknown[]) => Promise<unknown>;
      if (!inTurnOnly.includes(name as never)) return method;
      return (...args: unknown[]) => inTurn(() => method(...args));
    },
  });
}
