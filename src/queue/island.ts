/**
 * Island mode: while Redis is away, jobs that this process accepted into its journal run here from the
 * journal. BullMQ's Worker is handed them as if they came from Redis, so they run like any other job;
 * how they end goes to the journal like any outcome. Afterwards each is added to Redis as active under
 * our lock (`bring`), before recovery looks for what is ours and writes the outcomes.
 *
 * What it must never do: run a job of which a byte may have been written to a socket, or begin one
 * before the journal has it marked as running.
 */
import { unpack } from 'msgpackr';
import type { Logger } from 'pino';
import type { JobEntry, Kept, Position } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import type { Clock, Instant } from '../time.ts';
import { keyCount } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import { islandAdd } from './island-add.ts';
import { type IslandFields, islandFields, runPlace } from './island-job.ts';
import { storedJob } from './job-store.ts';
import { type HeldJob, heldFromReply, type QueueLedger } from './ledger.ts';
import type { Settlement } from './target-core.ts';

export interface IslandDeps {
  clock: Clock;
  journal: Journal;
  log: Logger;
  ledger(prefix: string, queue: string): QueueLedger;
  /** Redis is away: neither admitted nor good for settles. */
  isAway(): boolean;
  generation(): Generation | undefined;
  /** The replay may have written entries up to this one to a socket. */
  touched(): Position;
  isOutage(error: unknown, generation: Generation): boolean;
}

/** Entries that are read at once. */
const READ_ENTRIES = 256;
/** Jobs of a queue that may wait for their next attempt here; then none begins. */
const RETRIES_MAX = 1000;
/** After a failure of the journal nothing begins for so long, ms. */
const REST_MS = 1000;
/** What a queue's keys say of pause and limits is looked at so often, ms. */
const RULES_MS = 5000;
/** Adds under way at once. */
const BRING_BATCH = 64;

/** A job of the journal that was begun here. */
interface Taken {
  ledger: QueueLedger;
  jobId: string;
  /** While it runs. */
  held: HeldJob | undefined;
  /** It may be in Redis: no attempt begins here any more. */
  isSent: boolean;
  /** Kept while another attempt may come. */
  fields: IslandFields | undefined;
}

interface Ready {
  entry: Kept<JobEntry>;
  fields: IslandFields;
}

interface Retry {
  position: Position;
  taken: Taken;
  /** What the attempt before made of the job. */
  before: HeldJob;
  attemptsMade: number;
  dueAt: Instant;
}

interface Queue {
  ledger: QueueLedger;
  /** Appended in this life and not looked at yet. */
  offered: Set<Position>;
  cursor: Position;
  /** Read and not begun, most urgent first. */
  read: Ready[];
  retries: Retry[];
  /** What forbids it; undefined when nothing does. */
  refusal: string | undefined;
  restUntil: Instant;
  waiting: Set<() => void>;
  turn: Promise<unknown>;
}

export class Islands {
  readonly #deps: IslandDeps;
  readonly #queues = new Map<QueueLedger, Queue>();
  readonly #taken = new Map<Position, Taken>();
  readonly #byHeld = new WeakMap<HeldJob, Position>();
  /** Outcomes of an earlier life, or of a dead replica, may belong to entries that ran from the journal. */
  #hasFound = true;
  #isBringing = false;
  #isStopped = false;
  #cancelRules: (() => void) | undefined;

  constructor(deps: IslandDeps) {
    this.#deps = deps;
  }

  /** From now on jobs of the queue run from the journal while Redis is away. */
  enable(ledger: QueueLedger): void {
    if (this.#queues.has(ledger)) return;
    this.#queues.set(ledger, {
      ledger,
      offered: new Set(),
      cursor: Number.MAX_SAFE_INTEGER,
      read: [],
      retries: [],
      refusal: 'Redis was not there yet since the start',
      restUntil: 0,
      waiting: new Set(),
      turn: Promise.resolve(),
    });
    this.#followRules();
  }

  /** A job was appended that was never written to a socket. */
  kept(ledger: QueueLedger, position: Position): void {
    const queue = this.#queues.get(ledger);
    if (!queue || !this.#deps.isAway()) return;
    queue.offered.add(position);
    queue.cursor = Math.min(queue.cursor, position - 1);
    wake(queue);
  }

  /** The entry runs here, or did, and Redis does not have it yet. */
  has(position: Position): boolean {
    return this.#taken.has(position);
  }

  /** Entries came from another journal. */
  found(): void {
    this.#hasFound = true;
  }

  // Running ------------------------------------------------------------------------------------------

  /** Resolves when a job may begin here; never while there is none, but when `signal` aborts. */
  work(ledger: QueueLedger, signal: AbortSignal): Promise<void> | undefined {
    const queue = this.#queues.get(ledger);
    if (!queue) return undefined;
    return new Promise((resolve) => {
      let cancel: (() => void) | undefined;
      const look = () => {
        cancel?.();
        cancel = undefined;
        if (signal.aborted || this.#hasWork(queue)) {
          queue.waiting.delete(look);
          signal.removeEventListener('abort', look);
          resolve();
          return;
        }
        const nextMs = this.#nextLookMs(queue);
        if (nextMs !== undefined) cancel = this.#deps.clock.after(nextMs, look);
      };
      queue.waiting.add(look);
      signal.addEventListener('abort', look, { once: true });
      look();
    });
  }

  /** The next job in the form of BullMQ's reply, in flight here; undefined if there is none. */
  take(ledger: QueueLedger, token: string): Promise<unknown> {
    const queue = this.#queues.get(ledger);
    if (!queue) return Promise.resolve(undefined);
    const taken = queue.turn.then(() => this.#take(queue, token));
    queue.turn = taken.catch(() => undefined);
    return taken;
  }

  async #take(queue: Queue, token: string): Promise<unknown> {
    try {
      while (this.#hasWork(queue)) {
        const retry = queue.retries.find(({ dueAt }) => dueAt <= this.#deps.clock.now());
        if (retry) return await this.#again(queue, retry, token);
        if (queue.read.length === 0) await this.#read(queue);
        const ready = queue.read.shift();
        const reply = ready && (await this.#first(queue, ready, token));
        if (reply) return reply;
      }
    } catch (error) {
      queue.restUntil = this.#deps.clock.now() + REST_MS;
      this.#deps.log.error(
        { event: 'island.halted', queue: queue.ledger.queue, err: error },
        'the journal failed: no job begins from it for a moment',
      );
    }
    return undefined;
  }

  async #first(queue: Queue, { entry, fields }: Ready, token: string): Promise<unknown> {
    const { ledger } = queue;
    const { position, jobId } = entry;
    if (ledger.held.has(jobId) || ledger.unsettled.has(jobId)) return undefined;
    if (!this.#mayRun(queue) || position <= this.#deps.touched()) return undefined;
    const taken: Taken = { ledger, jobId, held: undefined, isSent: false, fields };
    // From here on the replay leaves it alone: nothing was awaited since it was looked at.
    this.#taken.set(position, taken);
    try {
      await this.#deps.journal.mark([position], 'running');
    } catch (error) {
      this.#taken.delete(position);
      throw error;
    }
    if (!this.#mayRun(queue)) {
      this.#taken.delete(position);
      return undefined;
    }
    return this.#begin(position, taken, token, { attemptsStarted: 1, attemptsMade: 0 });
  }

  async #again(queue: Queue, retry: Retry, token: string): Promise<unknown> {
    const { position, taken, before, attemptsMade } = retry;
    queue.retries.splice(queue.retries.indexOf(retry), 1);
    const outcome = taken.ledger.unsettled.get(taken.jobId);
    if (!outcome || outcome.job !== before || taken.isSent) return undefined;
    if (outcome.position !== undefined) await this.#deps.journal.settle([outcome.position]);
    // Redis came back meanwhile: there it goes on from the attempt before.
    if (taken.isSent || !this.#mayRun(queue)) {
      outcome.position = undefined;
      return undefined;
    }
    taken.ledger.unsettled.delete(taken.jobId);
    const attemptsStarted = before.attemptsStarted + 1;
    const reply = this.#begin(position, taken, token, { attemptsStarted, attemptsMade });
    taken.held!.notes = before.notes;
    return reply;
  }

  #begin(
    position: Position,
    taken: Taken,
    token: string,
    counts: { attemptsStarted: number; attemptsMade: number },
  ): unknown {
    const { clock } = this.#deps;
    const { ledger, jobId } = taken;
    const processedOn = clock.wall();
    const raw = {
      ...taken.fields!,
      processedOn: String(processedOn),
      ats: String(counts.attemptsStarted),
      atm: String(counts.attemptsMade),
    };
    const reply = [Object.entries(raw).flat(), jobId, 0, 0];
    const held = heldFromReply(reply, token, ledger.lockMs, clock.now())!;
    held.processedOn = processedOn;
    taken.held = held;
    this.#byHeld.set(held, position);
    ledger.held.set(jobId, held);
    return reply;
  }

  /** The outcome of a run is kept. An attempt that is to be repeated is repeated here. */
  ended(settlement: Settlement): void {
    const { job, command, args } = settlement;
    const position = this.#byHeld.get(job);
    const taken = position === undefined ? undefined : this.#taken.get(position);
    if (position === undefined || taken?.held !== job) return;
    taken.held = undefined;
    const queue = this.#queues.get(taken.ledger)!;
    const at = keyCount(command);
    if (taken.isSent || (command !== 'retryJob' && command !== 'moveToDelayed')) {
      taken.fields = undefined;
      return;
    }
    const isDelayed = command === 'moveToDelayed';
    const isSkipped = isDelayed && args[at + 5] === '1';
    const update = args[at + (isDelayed ? 6 : 5)];
    if (Buffer.isBuffer(update)) Object.assign(taken.fields!, fromFlat(unpack(update)));
    queue.retries.push({
      position,
      taken,
      before: job,
      attemptsMade: job.attemptsMade + (isSkipped ? 0 : 1),
      dueAt: this.#deps.clock.now() + (isDelayed ? Number(args[at + 4]) : 0),
    });
    wake(queue);
  }

  #mayRun(queue: Queue): boolean {
    return (
      !this.#isBringing &&
      !this.#isStopped &&
      queue.refusal === undefined &&
      this.#deps.isAway() &&
      this.#deps.clock.now() >= queue.restUntil &&
      queue.ledger.held.size < (queue.ledger.slotsMax ?? Number.POSITIVE_INFINITY)
    );
  }

  #hasWork(queue: Queue): boolean {
    if (!this.#mayRun(queue)) return false;
    const now = this.#deps.clock.now();
    if (queue.retries.some(({ dueAt }) => dueAt <= now)) return true;
    return queue.retries.length < RETRIES_MAX && queue.offered.size + queue.read.length > 0;
  }

  /** When to look again without being woken, ms. */
  #nextLookMs(queue: Queue): number | undefined {
    const now = this.#deps.clock.now();
    const isHeldUp = queue.restUntil > now || queue.ledger.slotsMax !== undefined;
    const dues = queue.retries.map(({ dueAt }) => dueAt - now);
    const nextMs = Math.min(...dues, isHeldUp ? REST_MS : Number.POSITIVE_INFINITY);
    return Number.isFinite(nextMs)
      ? Math.max(this.#mayRun(queue) ? 1 : REST_MS, nextMs)
      : undefined;
  }

  async #read(queue: Queue): Promise<void> {
    const { offered, ledger } = queue;
    const known = [...offered];
    for await (const entry of this.#deps.journal.jobs(ledger.queue, queue.cursor)) {
      if (!offered.delete(entry.position)) continue;
      queue.cursor = entry.position;
      if (entry.prefix !== ledger.prefix || entry.mark !== 'unsent') continue;
      const fields = islandFields(ledger, entry);
      if (fields) queue.read.push({ entry, fields });
      if (queue.read.length >= READ_ENTRIES) break;
    }
    queue.read.sort((a, b) => Number(a.fields.priority) - Number(b.fields.priority));
    if (queue.read.length >= READ_ENTRIES) return;
    // What was offered before and did not come is not there any more.
    for (const position of known) offered.delete(position);
  }

  // Redis is back ------------------------------------------------------------------------------------

  /**
   * Adds what began here to Redis, active under our lock. Nothing begins any more until `rest`.
   * @throws what Redis says, for an outage only
   */
  async bring(generation: Generation): Promise<void> {
    this.#isBringing = true;
    await Promise.all([...this.#queues.values()].map(({ turn }) => turn));
    for (const queue of this.#queues.values()) {
      queue.offered.clear();
      queue.read = [];
      queue.retries = [];
      queue.cursor = Number.MAX_SAFE_INTEGER;
    }
    for (const taken of this.#taken.values()) taken.isSent = true;
    const { jobs, outcomes } = this.#deps.journal.stats();
    if (this.#taken.size === 0 && !(this.#hasFound && jobs > 0 && outcomes > 0)) return;
    let batch: Promise<void>[] = [];
    for await (const entry of this.#deps.journal.jobs()) {
      if (entry.mark !== 'running') continue;
      batch.push(this.#bringOne(entry, generation));
      if (batch.length < BRING_BATCH) continue;
      await Promise.all(batch);
      batch = [];
    }
    await Promise.all(batch);
    this.#hasFound = false;
  }

  async #bringOne(entry: Kept<JobEntry>, generation: Generation): Promise<void> {
    const ledger = this.#deps.ledger(entry.prefix, entry.queue);
    const held = ledger.held.get(entry.jobId) ?? ledger.unsettled.get(entry.jobId)?.job;
    // Begun by a process that died before the end: it goes to Redis like any other.
    if (held?.processedOn === undefined) return;
    const job = storedJob(entry);
    const key = runPlace(job.place).key;
    try {
      if ((await generation.client.get(key)) === null) {
        await islandAdd(generation, ledger, job, key, held);
      }
    } catch (error) {
      if (!generation.alive || this.#deps.isOutage(error, generation)) throw error;
      this.#deps.log.error(
        { event: 'enqueue.delayed', queue: ledger.queue, err: error },
        'a job that ran from the journal could not be written to Redis',
      );
    }
  }

  /** Recovery failed: Redis is away as before. */
  rest(): void {
    this.#isBringing = false;
    for (const queue of this.#queues.values()) wake(queue);
  }

  /** Redis has what ran here; the replay and recovery do the rest. */
  admitted(): void {
    this.#isBringing = false;
    // From here on they are jobs like any other, whose locks can be lost.
    for (const { held } of this.#taken.values()) delete held?.processedOn;
    this.#taken.clear();
    void this.#lookAtRules();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelRules?.();
  }

  // What island mode does not know --------------------------------------------------------------------

  #followRules(): void {
    if (this.#isStopped) return;
    this.#cancelRules ??= this.#deps.clock.after(RULES_MS, () => {
      this.#cancelRules = undefined;
      void this.#lookAtRules();
      this.#followRules();
    });
  }

  async #lookAtRules(): Promise<void> {
    const generation = this.#deps.generation();
    if (!generation) return;
    for (const queue of this.#queues.values()) {
      try {
        const meta = queue.ledger.toKey('meta');
        const [paused, concurrency, max] = await generation.client.hmget(
          meta,
          'paused',
          'concurrency',
          'max',
        );
        this.#setRefusal(queue, refusalOf(paused, concurrency, max));
      } catch (error) {
        this.#deps.isOutage(error, generation);
      }
    }
  }

  #setRefusal(queue: Queue, refusal: string | undefined): void {
    if (refusal === queue.refusal) return;
    queue.refusal = refusal;
    if (refusal === undefined) return;
    const name = queue.ledger.queue;
    this.#deps.log.warn(
      { event: 'island.refused', queue: name, reason: refusal },
      `queue ${name} does not run from the journal while Redis is away: ${refusal}`,
    );
  }
}

function refusalOf(
  paused: string | null | undefined,
  concurrency: string | null | undefined,
  max: string | null | undefined,
): string | undefined {
  if (paused) return 'it is paused';
  if (concurrency) return `it has a global concurrency of ${concurrency}`;
  if (max) return 'it has a global rate limit';
  return undefined;
}

function wake(queue: Queue): void {
  for (const look of [...queue.waiting]) look();
}

function fromFlat(flat: unknown): Record<string, string> {
  const fields: Record<string, string> = {};
  if (!Array.isArray(flat)) return fields;
  for (let i = 0; i + 1 < flat.length; i += 2) fields[String(flat[i])] = String(flat[i + 1]);
  return fields;
}
