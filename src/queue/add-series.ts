/**
 * The adds of this process to one queue, numbered. A request is sent with its number and acts only if
 * it is the next of its series (`lua/fence.ts`), and the number stands in the dataset that also has the
 * jobs. So after an outage, a restart or a rollback one `GET` says which of the adds Redis has: those up
 * to the key's value. All above it are sent again, in order, under their numbers; nothing else is.
 *
 * What it must never do: send an add that has acted, or forget one that was acknowledged within the
 * rollback window.
 */
import Denque from 'denque';
import type { Clock, Instant } from '../time.ts';
import { AddWindow, type StoredAdd, type WindowEntry } from './add-window.ts';
import type { NumberArgs } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';
import { fencedReason } from './lua/fence.ts';
import { RENEW_MS, renew } from './series-keys.ts';

/** An add that can be sent under a number, and again under the same one. */
export interface AddWork {
  /** The job's; a flow's root's. */
  readonly jobId: string;
  /** Rough size in memory, bytes. */
  readonly bytes: number;
  /** What the rollback window keeps of it; without one it keeps the object. */
  readonly stored?: StoredAdd;
  /** Resolves with Redis' reply. */
  send(generation: Generation, number: NumberArgs): Promise<unknown>;
  /** As `send`, after a rollback: jobs that a living worker ran go back to it. */
  sendAgain(generation: Generation, number: NumberArgs): Promise<unknown>;
}

/** Whoever waits for an add. Each is called at most once, `doubted` before the others or never. */
export interface AddListener {
  /** Redis has it; the reply is undefined when an outage took it and the number tells. */
  acted(reply: unknown): void;
  /** Redis refuses it for good. */
  refused(error: unknown): void;
  /** Redis does not answer: what became of it is decided later. */
  doubted(record: AddRecord): void;
}

export interface AddRecord {
  readonly number: number;
  readonly work: AddWork;
  /** Gone once it was told. */
  listener: AddListener | undefined;
  readonly sentAt: Instant;
  state: 'sent' | 'acted' | 'refused';
  isDoubted: boolean;
}

export interface RefusedAgain {
  jobs: number;
  /** The first of them. */
  jobIds: string[];
  /** Why the first was refused. */
  reason: string;
}

export interface AddSeriesDeps {
  clock: Clock;
  windowMs: number;
  ready(ledger: QueueLedger, generation: Generation): Promise<void>;
  /** The add again, as the window kept it. */
  restore(ledger: QueueLedger, stored: StoredAdd): AddWork;
  isOutage(error: unknown, generation: Generation): boolean;
  compareClocks(generation: Generation): Promise<void>;
  /** The window's adds are more than may be kept in memory: the oldest are forgotten. */
  onWindowFull(ledger: QueueLedger): void;
  /** Adds that a rollback had undone were sent again. */
  onRedone(ledger: QueueLedger, count: number): void;
  /** Redis lost jobs that it had acknowledged, and does not take them again. */
  onRefusedAgain(ledger: QueueLedger, refused: RefusedAgain): void;
  /** Redis answers, but not so that the adds can be decided: they wait for a later try. */
  onTrouble(ledger: QueueLedger, error: unknown): void;
}

/** Bytes of adds kept for the rollback window; the oldest go first. */
const WINDOW_BYTES_MAX = 32 * 1024 * 1024;
/** Of jobs that are refused when they are sent again, so many are named. */
const NAMED_MAX = 100;
/** Sent at once when they are sent again. */
const REDO_BATCH = 256;
/** A series that is still wrong after so many looks is left to the next try. */
const LOOKS_MAX = 10;
/** After a failure that no recovery follows it is tried again, ms. */
const RETRY_MS = 30_000;

export class AddSeries {
  readonly key: string;
  readonly #ledger: QueueLedger;
  readonly #deps: AddSeriesDeps;
  /** In order of their numbers: the unanswered, and what was answered before the first of them. */
  readonly #records = new Denque<AddRecord>();
  /** Those before, as long as a rollback may undo them. */
  readonly #window: AddWindow;
  /** Requests on the wire, whatever their records' state. */
  #underWay = 0;
  #allAnswered: (() => void) | undefined;
  #lastGiven: number;
  /** Who waits for an add up to this number was told of the doubt, if it is without an answer. */
  #doubtedThrough = 0;
  /** What the key holds once all that was sent has acted. */
  #lastSent = 0;
  #renewedAt: Instant = 0;
  #openIn: Generation | undefined;
  #stuckIn: Generation | undefined;
  #settling: { generation: Generation; done: Promise<void> } | undefined;
  #cancelRetry: (() => void) | undefined;
  /** Of the redo that is under way. */
  #refusedAgain: RefusedAgain | undefined;
  #isStopped = false;

  /** @param numbersFrom the key in Redis holds no more than this */
  constructor(ledger: QueueLedger, processId: string, deps: AddSeriesDeps, numbersFrom = 0) {
    this.#lastGiven = numbersFrom;
    this.#ledger = ledger;
    this.#deps = deps;
    this.key = ledger.key(`adds:${processId}`);
    this.#window = new AddWindow({
      bytesMax: WINDOW_BYTES_MAX,
      restore: (stored) => deps.restore(ledger, stored),
      onFull: () => deps.onWindowFull(ledger),
    });
  }

  /** Whether an add may be sent on this generation now. */
  isOpenIn(generation: Generation): boolean {
    return this.#openIn === generation;
  }

  /** Whether a settling of this generation ended without opening: a later one will do it. */
  isStuckIn(generation: Generation): boolean {
    return this.#stuckIn === generation;
  }

  /** Adds whose fate a settling has yet to decide. */
  get hasUnanswered(): boolean {
    return !this.#records.isEmpty();
  }

  /** Whether this series has ever sent anything. */
  get isUsed(): boolean {
    return this.#lastGiven > 0;
  }

  /** The highest number so far. */
  get lastGiven(): number {
    return this.#lastGiven;
  }

  /** Nothing is in doubt, under way, or remembered for the rollback window. */
  get isQuiet(): boolean {
    return !this.hasUnanswered && !this.isRemembering && this.#underWay === 0 && !this.#settling;
  }

  /** When the oldest unanswered add was sent; undefined when all are answered. */
  get unansweredSince(): Instant | undefined {
    return this.#records.peekFront()?.sentAt;
  }

  /** Only while the series is open in this generation. */
  add(generation: Generation, work: AddWork, listener: AddListener): AddRecord {
    const now = this.#deps.clock.now();
    this.#lastGiven += 1;
    const record: AddRecord = {
      number: this.#lastGiven,
      work,
      listener,
      sentAt: now,
      state: 'sent',
      isDoubted: false,
    };
    this.#records.push(record);
    void this.#send(record, generation);
    if (now - this.#renewedAt >= RENEW_MS) this.#renew(generation);
    return record;
  }

  #renew(generation: Generation): void {
    this.#renewedAt = this.#deps.clock.now();
    renew(generation, this.key);
  }

  /** Whether anything is remembered for the rollback window. */
  get isRemembering(): boolean {
    return !this.#window.isEmpty;
  }

  /** Lets go of what is older than the window, also when nothing is added any more. */
  forgetOld(): void {
    this.#window.forgetBefore(this.#deps.clock.now() - this.#deps.windowMs);
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelRetry?.();
    this.doubtUnanswered();
  }

  /** Tells those who wait that Redis does not answer; the adds stay to be decided. */
  doubtUnanswered(): void {
    this.#doubtThrough(this.#lastGiven);
  }

  /**
   * In order of the numbers, whichever failed first: a connection that ends rejects what came last before
   * what it has written. Whoever replays the journal takes all below a number that acted for done.
   */
  #doubtThrough(number: number): void {
    const first = this.#records.peekFront()?.number ?? 0;
    for (let i = Math.max(0, this.#doubtedThrough + 1 - first); i < this.#records.length; i += 1) {
      const record = this.#records.peekAt(i)!;
      if (record.number > number) return;
      this.#doubtedThrough = record.number;
      doubt(record);
    }
  }

  /** Nobody wants this add any more: it is not sent again. */
  giveUp(record: AddRecord): void {
    if (record.state !== 'sent') return;
    record.state = 'refused';
    this.#keepAnswered();
  }

  /** Asks Redis which adds it has, sends the others again, and opens. Never rejects. */
  settle(generation: Generation): Promise<void> {
    if (this.#settling?.generation !== generation) {
      const done = this.#settle(generation).finally(() => {
        if (this.#settling?.generation === generation) this.#settling = undefined;
        this.#stuckIn = this.#openIn === generation ? undefined : generation;
      });
      this.#settling = { generation, done };
    }
    return this.#settling.done;
  }

  async #settle(generation: Generation): Promise<void> {
    this.#openIn = undefined;
    try {
      await this.#deps.ready(this.#ledger, generation);
      for (let looks = 0; looks < LOOKS_MAX; looks += 1) {
        await this.#answered();
        const last = Number((await generation.client.get(this.key)) ?? 0);
        const lost = this.#decide(last);
        this.#lastSent = last;
        this.#renew(generation);
        if (lost.length === 0) {
          if (generation.alive) this.#openIn = generation;
          return;
        }
        await this.#deps.compareClocks(generation);
        await this.#redo(lost, generation);
        if (!generation.alive) return;
      }
      throw new Error(`the adds of a queue are out of order after ${LOOKS_MAX} looks`);
    } catch (error) {
      if (this.#deps.isOutage(error, generation)) return;
      this.#deps.onTrouble(this.#ledger, error);
      this.#retryLater(generation);
    }
  }

  /** What stopped it was no outage, so no recovery will come. */
  #retryLater(generation: Generation): void {
    if (this.#isStopped) return;
    this.#cancelRetry?.();
    this.#cancelRetry = this.#deps.clock.after(RETRY_MS, () => {
      if (generation.alive && this.#stuckIn === generation) void this.settle(generation);
    });
  }

  /** What the key's value says; returns what Redis does not have, in order. */
  #decide(last: number): AddRecord[] {
    // What the dataset forgot is sent under its number again, and stands in the window as long again.
    this.#window.renewAfter(last, this.#deps.clock.now());
    const lost: AddRecord[] = this.#window.after(last).map(forgotten);
    const acted: AddRecord[] = [];
    for (let i = 0; i < this.#records.length; i += 1) {
      const record = this.#records.peekAt(i)!;
      if (record.state === 'refused') continue;
      if (record.number > last) lost.push(record);
      else if (record.state === 'sent') acted.push(record);
    }
    for (const record of acted) this.#acted(record, undefined);
    return lost;
  }

  async #redo(lost: readonly AddRecord[], generation: Generation): Promise<void> {
    const undone = lost.filter(({ state }) => state === 'acted').length;
    let refused = 0;
    for (let from = 0; from < lost.length; from += REDO_BATCH) {
      const sent = lost
        .slice(from, from + REDO_BATCH)
        .map((record) => this.#send(record, generation, true));
      const isDone = (await Promise.all(sent)).every(Boolean);
      if (isDone && from + REDO_BATCH < lost.length) continue;
      refused = this.#tellRefusedAgain();
      if (!isDone) return;
    }
    if (undone > refused) this.#deps.onRedone(this.#ledger, undone - refused);
  }

  /** In one line, however many they are. @returns their number */
  #tellRefusedAgain(): number {
    const refused = this.#refusedAgain;
    if (refused === undefined) return 0;
    this.#refusedAgain = undefined;
    this.#deps.onRefusedAgain(this.#ledger, refused);
    return refused.jobs;
  }

  /** Whether Redis answered as it should; never rejects. */
  async #send(record: AddRecord, generation: Generation, isAgain = false): Promise<boolean> {
    const before = this.#lastSent;
    this.#lastSent = record.number;
    this.#underWay += 1;
    try {
      const number = { key: this.key, before, number: record.number };
      const { work } = record;
      const reply = isAgain ? work.sendAgain(generation, number) : work.send(generation, number);
      const answer = await reply;
      if (typeof answer === 'number' && answer < 0) {
        this.#noteRefusal(record, `BullMQ answered ${answer}`);
      }
      this.#acted(record, answer);
      return true;
    } catch (error) {
      return this.#failed(record, error, generation);
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#allAnswered?.();
    }
  }

  #acted(record: AddRecord, reply: unknown): void {
    if (record.state !== 'sent') return;
    record.state = 'acted';
    this.#keepAnswered();
    record.listener?.acted(reply);
    record.listener = undefined;
  }

  #failed(record: AddRecord, error: unknown, generation: Generation): boolean {
    const reason = fencedReason(error);
    if (reason === 'late' || reason === 'number') {
      // It did nothing, and nor did those behind it: all are looked at together.
      this.#openIn = undefined;
      if (this.#settling === undefined && generation.alive) void this.settle(generation);
      return false;
    }
    if (this.#deps.isOutage(error, generation)) {
      if (this.#openIn === generation) this.#openIn = undefined;
      this.#doubtThrough(record.number);
      return false;
    }
    const wasSent = record.state === 'sent';
    this.#noteRefusal(record, error instanceof Error ? error.message : String(error));
    if (record.state === 'acted') this.#window.remove(record.number);
    record.state = 'refused';
    this.#keepAnswered();
    if (wasSent) record.listener?.refused(error);
    record.listener = undefined;
    return true;
  }

  /** Redis refuses an add that it had acknowledged and lost: nobody waits for it who could hear that. */
  #noteRefusal({ state, work }: AddRecord, reason: string): void {
    if (state !== 'acted') return;
    this.#refusedAgain ??= { jobs: 0, jobIds: [], reason };
    const { jobIds } = this.#refusedAgain;
    this.#refusedAgain.jobs += 1;
    if (jobIds.length < NAMED_MAX) jobIds.push(work.jobId);
  }

  async #answered(): Promise<void> {
    if (this.#underWay === 0) return;
    await new Promise<void>((resolve) => {
      this.#allAnswered = resolve;
    });
    this.#allAnswered = undefined;
  }

  /** What nothing unanswered stands before goes to the window, in order. */
  #keepAnswered(): void {
    const now = this.#deps.clock.now();
    this.#window.forgetBefore(now - this.#deps.windowMs);
    for (let oldest = this.#records.peekFront(); oldest; oldest = this.#records.peekFront()) {
      if (oldest.state === 'sent') return;
      this.#records.shift();
      if (oldest.state === 'acted') this.#window.push(oldest.number, oldest.work, now);
    }
  }
}

/** An add of the window that the dataset does not have any more. Whoever waited for it was told. */
function forgotten({ number, work }: WindowEntry): AddRecord {
  return { number, work, listener: undefined, sentAt: 0, state: 'acted', isDoubted: true };
}

function doubt(record: AddRecord): void {
  if (record.isDoubted || record.state !== 'sent') return;
  record.isDoubted = true;
  record.listener?.doubted(record);
}
