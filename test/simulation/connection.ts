/** One connection to the dataset: what goes over it takes time, arrives in order, and may be cut off. */
import type { Random } from '../../src/time.ts';
import type { Dataset } from './dataset.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** Requests and replies in order; what was under way when it was cut may still arrive, and late. */
export class Connection {
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
    if (!isHeard) return;
    // The newest first, of some: a client rejects what it has not written before what it has.
    const told = [...this.#pending];
    const unwritten = told.splice(Math.floor(this.#random() * (told.length + 1)));
    for (const reject of [...unwritten, ...told]) reject(new Error('closed'));
  }
}
