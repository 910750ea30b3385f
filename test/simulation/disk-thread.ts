/**
 * The journal's thread without a thread: production's store on real files, whose requests take virtual
 * time. Its disk hangs, fails and loses power; a death at any moment leaves the files as the kernel has
 * them then.
 */
import { EventEmitter } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { type Folder, folderOf } from '../../src/journal/folder.ts';
import { openStore, type Store } from '../../src/journal/store.ts';
import type { Thread } from '../../src/journal/thread-link.ts';
import type { Reply, Request, ThreadOptions } from '../../src/journal/thread-protocol.ts';
import type { Clock, Random } from '../../src/time.ts';

/** What is wrong with the disk of a replica; outlives its processes. */
export class Disk {
  hangsUntil = 0;
  failsUntil = 0;
  /** The power goes in the middle of the next write. */
  isTorn = false;
}

/** The time of its process: no timer fires after its death. */
export interface Life {
  readonly isDead: boolean;
  clock: Clock;
  random: Random;
  disk: Disk;
  /** The power is gone: the process ends at this very moment. */
  onPowerLoss(): void;
}

/** A request, and each reply, takes up to this long, ms. */
const LATENCY_MS = 2;

const APART_MS = 0.001;

const WRITES: ReadonlySet<string> = new Set(['append', 'remove', 'mark', 'refuse']);

type Image = ReadonlyMap<string, Buffer>;

export class DiskThread extends EventEmitter implements Thread {
  readonly #life: Life;
  readonly #folder: Folder;
  readonly #requests: Request[] = [];
  #store: Store | undefined;
  #isServing = false;
  #saidLast = 0;
  /** What the store says is for nobody: it is being closed behind its process' death. */
  #isSilent = false;
  /** When all that was asked had been answered last. */
  idleAt = 0;
  /** A removal failed, and none has followed that takes it along. */
  owesRemovals = false;
  #unanswered = 0;

  constructor(options: ThreadOptions, life: Life) {
    super();
    this.#life = life;
    this.#folder = folderOf(options.base, options.replica);
    this.#store = openStore(options, life.clock, (reply) => this.#say(reply));
  }

  postMessage(request: Request): void {
    if (this.#life.isDead) return;
    this.#requests.push(request);
    this.#unanswered += 1;
    if (!this.#isServing) this.#serveNext();
  }

  async terminate(): Promise<void> {
    this.die();
  }

  /** The process ends: the kernel keeps what was written, and takes the lock back. */
  die(image: Image = this.#image()): void {
    if (!this.#store) return;
    this.#isSilent = true;
    // Closing folds the log into the database, as no dead process does.
    this.#store.serve({ id: 0, name: 'close', args: [] });
    this.#store = undefined;
    this.#restore(image);
  }

  /** A job's row is not what was written any more. @returns its id; undefined if there is none */
  damage(): string | undefined {
    const { clock, random } = this.#life;
    if (!this.#store || clock.now() < this.#life.disk.hangsUntil) return undefined;
    const db = new DatabaseSync(this.#folder.database);
    try {
      const rows = db.prepare("SELECT position, head FROM entry WHERE refusal = ''").all();
      // The last one as often as any: its position is the one that might be given again.
      const row = random() < 0.5 ? rows.at(-1) : rows[Math.floor(random() * rows.length)];
      if (!row) return undefined;
      db.prepare('UPDATE entry SET crc = crc + 1 WHERE position = ?').run(row.position!);
      return JSON.parse(String(row.head))[2];
    } finally {
      db.close();
    }
  }

  #serveNext(): void {
    const { clock, random, disk } = this.#life;
    const request = this.#requests.shift();
    this.#isServing = request !== undefined;
    if (!request) return;
    const wait = Math.max(0, disk.hangsUntil - clock.now()) + LATENCY_MS * random();
    clock.after(wait, () => {
      // It hangs anew: the system call has not come back.
      if (clock.now() < disk.hangsUntil) this.#requests.unshift(request);
      else this.#serve(request);
      if (!this.#life.isDead) this.#serveNext();
    });
  }

  #serve(request: Request): void {
    const { clock, disk } = this.#life;
    const isWrite = WRITES.has(request.name);
    if (request.name === 'remove') this.owesRemovals = clock.now() < disk.failsUntil;
    if (isWrite && clock.now() < disk.failsUntil) {
      this.#fail(request);
      return;
    }
    const before = isWrite && disk.isTorn ? this.#image() : undefined;
    this.#store?.serve(request);
    if (request.name === 'close') this.#store = undefined;
    if (before === undefined) return;
    disk.isTorn = false;
    this.die(this.#torn(before, this.#image()));
    this.#life.onPowerLoss();
  }

  /** As the store answers when SQLite cannot write. */
  #fail({ id }: Request): void {
    const { path } = this.#folder;
    const what = 'failed: disk I/O error';
    const fault = { type: 'unusable', path, what, remedy: 'Look.', cause: undefined } as const;
    // What the store has now, from a request that changes nothing.
    this.#isSilent = true;
    let now: Reply | undefined;
    this.#heard = (reply) => {
      now = reply;
    };
    this.#store?.serve({ id: 0, name: 'mark', args: [[], ''] });
    this.#heard = undefined;
    this.#isSilent = false;
    if (now?.type === 'done') this.#say({ type: 'failed', id, fault, snapshot: now.snapshot });
  }

  #heard: ((reply: Reply) => void) | undefined;

  #say(reply: Reply): void {
    if (this.#isSilent) {
      this.#heard?.(reply);
      return;
    }
    const { clock, random } = this.#life;
    // Each alone: what one makes its caller do is done before the next, as between a thread's messages.
    const at = Math.max(this.#saidLast + APART_MS, clock.now() + LATENCY_MS * random());
    this.#saidLast = at;
    clock.after(at - clock.now(), () => {
      if (reply.type === 'done' || reply.type === 'failed') this.#unanswered -= 1;
      this.emit('message', reply);
      // What the answer makes its caller ask for is asked by then.
      setImmediate(() => {
        if (this.#unanswered === 0) this.idleAt = clock.now();
      });
    });
  }

  // The files -----------------------------------------------------------------------------------------

  #image(): Image {
    const { database, wal, sharedMemory } = this.#folder;
    const files = [database, wal, sharedMemory].filter((file) => existsSync(file));
    return new Map(files.map((file) => [file, readFileSync(file)]));
  }

  #restore(image: Image): void {
    const { database, wal, sharedMemory } = this.#folder;
    for (const file of [database, wal, sharedMemory]) {
      rmSync(file, { force: true });
      const bytes = image.get(file);
      if (bytes) writeFileSync(file, bytes, { mode: 0o600 });
    }
  }

  /**
   * What a write leaves that the power cut short: the log up to anywhere within it. The index beside the log
   * is memory only. Where the write went on into the database, the log was on disk before.
   */
  #torn(before: Image, after: Image): Image {
    const { database, wal } = this.#folder;
    const image = new Map(after);
    image.delete(this.#folder.sharedMemory);
    const [was, is] = [before.get(wal) ?? Buffer.alloc(0), after.get(wal) ?? Buffer.alloc(0)];
    if (!before.get(database)?.equals(after.get(database)!)) return image;
    const cut = Math.floor(this.#life.random() * (is.length + 1));
    // What the log had beyond is from before: of an earlier round, or nothing.
    image.set(wal, Buffer.concat([is.subarray(0, cut), was.subarray(cut)]));
    return image;
  }
}
