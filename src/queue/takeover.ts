/**
 * An add that went straight to Redis and its caller: told what Redis answers, or, when Redis does not
 * answer, that the journal has the job, whose entry goes once the add's fate is known.
 */
import type { Journal } from '../journal/journal.ts';
import type { AddListener, AddRecord } from './add-series.ts';
import type { Stored } from './client.ts';
import type { Replayer } from './replayer.ts';

export interface Receipt {
  id: string;
  stored: Stored;
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
    else if (this.#takeover) this.#takeover.acted();
    else this.#resolve({ id: String(reply ?? this.#jobId), stored: 'redis' });
  }

  refused(error: unknown): void {
    if (this.#takeover) this.#takeover.refused(error);
    else this.#reject(error);
  }

  doubted(record: AddRecord): void {
    this.#takeover = this.#takeOver(record);
  }
}

/** An add in doubt that the journal has taken over, until its fate is known and its entry goes. */
export class Takeover {
  /** Undefined until it is on disk. */
  position: number | undefined;
  readonly #journal: Journal;
  /** The replay is not at its end while this is open. */
  readonly #arrived: () => void;
  #fate: { error: unknown } | 'acted' | undefined;

  constructor(journal: Journal, replayer: Replayer) {
    this.#journal = journal;
    this.#arrived = replayer.expectDecision();
  }

  acted(): void {
    this.#fate = 'acted';
    this.settleIfDecided();
  }

  refused(error: unknown): void {
    this.#fate = { error };
    this.settleIfDecided();
  }

  abandon(): void {
    this.#arrived();
  }

  settleIfDecided(): void {
    if (this.#fate === undefined || this.position === undefined) return;
    const done =
      this.#fate === 'acted'
        ? this.#journal.settle([this.position])
        : this.#journal.refuse(this.position, textOf(this.#fate.error));
    done.catch(() => undefined);
    this.#arrived();
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
