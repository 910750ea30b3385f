/**
 * Whether the disk takes entries: told when it begins to refuse them and when it takes them again, once
 * each, and tried from time to time in between, as nobody may enqueue where nothing can be kept.
 */
import { JournalFullError } from '../errors.ts';
import type { Clock } from '../time.ts';
import type { JournalLog } from './contract.ts';

/** A failing disk is tried this often, ms. */
const PROBE_MS = 2_000;

export interface TroubleDeps {
  path: string;
  clock: Clock;
  log: JournalLog;
  /** Writes something small. @throws what an entry would meet */
  probe(): Promise<void>;
}

export class Trouble {
  readonly #deps: TroubleDeps;
  #text: string | undefined;
  #cancelProbe: (() => void) | undefined;
  #isStopped = false;

  constructor(deps: TroubleDeps) {
    this.#deps = deps;
  }

  /** What is wrong, for a sentence; undefined while entries are taken. */
  get text(): string | undefined {
    return this.#text;
  }

  failed(err: unknown): void {
    const { path, log } = this.#deps;
    const text = err instanceof JournalFullError ? 'its disk is full' : 'its disk fails';
    if (this.#text === undefined) {
      log.error(
        { event: 'journal.refuses', path, err },
        `the journal takes nothing: ${text}; it is tried again`,
      );
    }
    this.#text = text;
    this.#probeLater();
  }

  worked(): void {
    if (this.#text === undefined) return;
    this.#cancel();
    this.#text = undefined;
    const { path, log } = this.#deps;
    log.warn({ event: 'journal.accepts', path }, 'the journal takes entries again');
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  #cancel(): void {
    this.#cancelProbe?.();
    this.#cancelProbe = undefined;
  }

  #probeLater(): void {
    // One that was under way at the stop fails as well.
    if (this.#isStopped) return;
    this.#cancelProbe ??= this.#deps.clock.after(PROBE_MS, () => {
      this.#cancelProbe = undefined;
      this.#deps.probe().then(
        () => this.worked(),
        (error) => this.failed(error),
      );
    });
  }
}
