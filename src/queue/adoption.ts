/**
 * What dead replicas left in their journals comes to Redis through this one: in each recovery, before this
 * process recovers stalled jobs, and now and then while all is well. How a job ended is owed to Redis from
 * then on; what was accepted goes there like what was accepted here.
 *
 * What it must never do: let accepted jobs of another journal go to Redis before it is known which of them
 * ran, or let a journal that fails keep a healthy Redis away.
 */
import type { Logger } from 'pino';
import type { Journal } from '../journal/journal.ts';
import { type Clock, isDoneWithin, type Random } from '../time.ts';
import type { Generation } from './generation.ts';
import type { Islands } from './island.ts';
import { loadOutcomes } from './island-found.ts';
import type { QueueLedger } from './ledger.ts';
import type { Ledgers } from './ledgers.ts';
import type { Producing } from './producing.ts';
import type { Settlements } from './settlements.ts';

export interface AdoptionDeps {
  clock: Clock;
  random: Random;
  log: Logger;
  journal: Journal;
  ledgers: Ledgers;
  settlements: Settlements;
  /** What is made later, since it asks for connections. */
  later(): { islands: Islands; producing: Producing };
  /** The present generation while the breaker is closed. */
  generation(): Generation | undefined;
  isOutage(error: unknown, generation: Generation): boolean;
  /** Writes the outcomes that are owed. */
  drain(ledger: QueueLedger, generation: Generation): Promise<void>;
  /** Another pace, ms; for tests. */
  everyMs?: number;
}

/**
 * Between two looks while all is well, ms; up to twice that, by chance, so that a fleet shares them. A look
 * tries the lock of each other replica's folder: well below a millisecond each.
 */
const EVERY_MS = 30_000;
/** A recovery, or the recovery of stalled jobs, waits for a slow disk for so long, ms. */
const PATIENCE_MS = 5000;

export class Adoption {
  readonly #deps: AdoptionDeps;
  /** Entries came, or may have come, of which is not known here which ran. Keeps the replay still. */
  #isFound = false;
  /** One after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #looking: Promise<void> | undefined;
  #told: string | undefined;
  #cancel: (() => void) | undefined;
  #isStopped = false;

  constructor(deps: AdoptionDeps) {
    this.#deps = deps;
  }

  /**
   * Outcomes of an earlier life are owed from now on.
   * @throws JournalError
   */
  async start(): Promise<void> {
    await this.#load();
    if (this.#deps.journal.durable) this.#lookLater();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  /** Before anybody recovers stalled jobs: what a dead replica finished must not run again. Never rejects. */
  async inRecovery(): Promise<void> {
    const { clock, journal } = this.#deps;
    if (!journal.durable) return;
    let isLate = false;
    const done = this.#next(async () => {
      await this.#take();
      // What comes too late for this recovery is left to a look.
      if (this.#isFound && !isLate) this.#isPrepared();
    }).catch((error: unknown) => this.#tell(error));
    isLate = !(await isDoneWithin(clock, done, PATIENCE_MS));
    if (isLate) this.#tell(new Error(`the journal took more than ${PATIENCE_MS} ms`));
  }

  /** The breaker closed. */
  admitted(): void {
    if (this.#isFound) void this.look();
  }

  /**
   * Before this process recovers stalled jobs. False: it takes its time, and nobody knows yet which of them
   * had ended.
   */
  async isDone(): Promise<boolean> {
    return await isDoneWithin(this.#deps.clock, this.look(), PATIENCE_MS);
  }

  /** Takes over what there is, and brings it to Redis; shared by all who ask meanwhile. Never rejects. */
  look(): Promise<void> {
    if (!this.#deps.journal.durable || this.#isStopped) return Promise.resolve();
    this.#looking ??= this.#next(() => this.#look()).finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  #lookLater(): void {
    const { clock, random, generation, everyMs = EVERY_MS } = this.#deps;
    this.#cancel = clock.after(everyMs * (1 + random()), () => {
      // While Redis is away each recovery looks.
      const looked = generation() ? this.look() : Promise.resolve();
      void looked.finally(() => {
        if (!this.#isStopped) this.#lookLater();
      });
    });
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #look(): Promise<void> {
    const { ledgers, settlements, later, generation: present, isOutage, drain } = this.#deps;
    const generation = present();
    // What a journal that failed still has, it may forget now.
    await settlements.forgetStuck();
    try {
      await this.#take();
      // Without a generation the next recovery brings it.
      if (!this.#isFound || !generation?.alive) return;
      await later().islands.bringFound(generation);
      if (!generation.alive) return;
      this.#isPrepared();
    } catch (error) {
      if (!generation || !isOutage(error, generation)) this.#tell(error);
      return;
    }
    for (const ledger of ledgers.all()) {
      if (ledger.unsettled.size > 0) await drain(ledger, generation);
    }
  }

  /** Into our journal, and outcomes into our ledgers. */
  async #take(): Promise<void> {
    const { journal, log, later } = this.#deps;
    const { producing } = later();
    producing.hold();
    let failure: unknown;
    try {
      for (const { replica, entries } of await journal.adoptOrphans()) {
        this.#isFound = true;
        log.info(
          { event: 'journal.adopted', from: replica, entries },
          `took over ${entries} entries that the dead replica ${replica} left in its journal`,
        );
      }
    } catch (error) {
      // It may have gone half of its way, and go on when the disk answers again.
      this.#isFound = true;
      failure = error;
    }
    if (this.#isFound) await this.#load();
    else producing.release();
    if (failure === undefined) this.#told = undefined;
    else this.#tell(failure);
  }

  /** Redis knows, or recovery tells it, which accepted jobs ran: the others may follow. */
  #isPrepared(): void {
    this.#isFound = false;
    const { producing } = this.#deps.later();
    producing.adopted();
    producing.release();
  }

  async #load(): Promise<void> {
    const { journal, settlements, ledgers, later } = this.#deps;
    await loadOutcomes({ journal, settlements, ledgers, islands: later().islands });
  }

  /** Once, until it went well again or fails in another way. */
  #tell(error: unknown): void {
    const text = String(error);
    if (this.#isStopped || this.#told === text) return;
    this.#told = text;
    this.#deps.log.error(
      { event: 'journal.adoption_failed', err: error },
      'what dead replicas left in their journals cannot be taken over now; it is tried again',
    );
  }
}
