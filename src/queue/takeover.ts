/**
 * An add that went straight to Redis and its caller: told what Redis answers, or, when Redis does not
 * answer, that the journal has the job, whose entry goes once the add's fate is known.
 */
import type { Journal } from '../journal/journal.ts';
import type { AddListener, AddRecord } from './add-series.ts';
import type { Stored } from './client.ts';
import type { Replayer } from './replayer.ts';

/** A class for the reason that the journal's `Packed` is one. */
export class Receipt {
  readonly id: string;
  readonly stored: Stored;

  constructor(id: string, stored: Stored) {
    this.id = id;
    this.stored = stored;
  }
}

/** Whoever waits for an add that went straight to Redis. */
export class Waiting implements AddListener {
  readonly #jobId: string;
  readonly #refusal: (code: number) => Error;
  readonly #resolve: (receipt: Receipt) => void;
  readonly #reject: (error: unknown) => void;
  readonly #takeOver: (record: AddRecord) => Takeover;
  #takeover: Takeover | undefined;

  constructor(
    jobId: string,
    refusal: (code: number) => Error,
    resolve: (receipt: Receipt) => void,
    reject: (error: unknown) => void,
    takeOver: (record: AddRecord) => Takeover,
  ) {
    this.#jobId = jobId;
    this.#refusal = refusal;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#takeOver = takeOver;
  }

  acted(reply: unknown): void {
    if (typeof reply === 'number' && reply < 0) this.refused(this.#refusal(reply));
    else {
      const id = String(reply ?? this.#jobId);
      if (this.#takeover) this.#takeover.acted(id);
      else this.#resolve(new Receipt(id, 'redis'));
    }
  }

  refused(error: unknown): void {
    if (this.#takeover) this.#takeover.refused(error);
    else this.#reject(error);
  }

  doubted(record: AddRecord): void {
    this.#takeover = this.#takeOver(record);
  }
}

/** What Redis made of an add: the id that it gave, or why it refused. */
export type Fate = { id: string } | { error: unknown };

/** An add in doubt that the journal has taken over, until its fate is known and its entry goes. */
export class Takeover {
  /** Undefined until it is on disk. */
  position: number | undefined;
  /** Resolves when it is known; never, if nobody decides. */
  readonly fate: Promise<Fate>;
  readonly #journal: Journal;
  /** The replay is not at its end while this is open. */
  readonly #arrived: () => void;
  readonly #decide: (fate: Fate) => void;
  #fate: Fate | undefined;

  readonly #onActed: (id: string) => void;

  /** @param onActed hears which job Redis has: of a duplicate, the one that was there */
  constructor(journal: Journal, replayer: Replayer, onActed: (id: string) => void) {
    this.#journal = journal;
    this.#onActed = onActed;
    this.#arrived = replayer.expectDecision();
    const { promise, resolve } = Promise.withResolvers<Fate>();
    this.fate = promise;
    this.#decide = resolve;
  }

  acted(id: string): void {
    this.#onActed(id);
    this.#decided({ id });
  }

  refused(error: unknown): void {
    this.#decided({ error });
  }

  #decided(fate: Fate): void {
    this.#fate = fate;
    this.#decide(fate);
    this.settleIfDecided();
  }

  abandon(): void {
    this.#arrived();
  }

  settleIfDecided(): void {
    if (this.#fate === undefined || this.position === undefined) return;
    const done =
      'id' in this.#fate
        ? this.#journal.settle([this.position])
        : this.#journal.refuse(this.position, textOf(this.#fate.error));
    done.catch(() => undefined);
    this.#arrived();
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
