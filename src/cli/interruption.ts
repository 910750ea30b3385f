/**
 * Ctrl-C, or SIGTERM, in the middle of many steps: the step under way is waited for, so that it can be
 * told what is done. A second one ends at once.
 */
import { EXIT_OF_SIGNAL } from './exit-codes.ts';
import { SameSignal } from './same-signal.ts';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

export class Interruption {
  readonly #tell: () => void;
  readonly #same = new SameSignal();
  #isBusy = false;
  #signal: (typeof SIGNALS)[number] | undefined;

  /** @param tell says how far it came, before the process ends */
  constructor(tell: () => void) {
    this.#tell = tell;
    for (const signal of SIGNALS) process.on(signal, this.#on);
  }

  /** One step. Does not resolve when the process ends after it. */
  async step(act: () => Promise<void>): Promise<void> {
    this.#isBusy = true;
    try {
      await act();
    } finally {
      this.#isBusy = false;
    }
    if (!this.#signal) return;
    this.#end(this.#signal);
    await new Promise(() => {});
  }

  [Symbol.dispose](): void {
    for (const signal of SIGNALS) process.removeListener(signal, this.#on);
  }

  readonly #on = (signal: NodeJS.Signals): void => {
    if (this.#same.isAgain(signal)) return;
    const name = signal as (typeof SIGNALS)[number];
    // The other of the two ends at once as well.
    if (this.#signal !== undefined) process.exit(EXIT_OF_SIGNAL[name]);
    this.#signal = name;
    if (!this.#isBusy) this.#end(name);
  };

  #end(signal: (typeof SIGNALS)[number]): void {
    this.#tell();
    // What was printed into a pipe may still be on its way.
    process.stdout.write('', () => process.exit(EXIT_OF_SIGNAL[signal]));
  }
}
