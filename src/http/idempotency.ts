/**
 * What requests with an Idempotency-Key were answered, so that one that comes again gets the same
 * answer and adds nothing: while the first is under way, and also when its job is gone already. The
 * memory of one replica, bounded and expiring; beyond it the job's id, made of the key, stands in.
 */
import { createHash } from 'node:crypto';
import { IdempotencyKeyError } from '../errors.ts';
import type { Accepted } from '../queue/client.ts';

/** How long a key is remembered: longer than anybody tries again. */
const REMEMBER_MS = 24 * 60 * 60 * 1000;
/** Answers kept, in jobs: about 100 bytes each. The oldest go first. */
const JOBS_MAX = 100_000;

interface Remembered {
  fingerprint: string;
  answer: Promise<Accepted[]>;
  jobs: number;
  /** Monotonic, ms. */
  at: number;
}

export class IdempotencyMemory {
  readonly #now: () => number;
  readonly #jobsMax: number;
  /** Oldest first. */
  readonly #known = new Map<string, Remembered>();
  #jobs = 0;

  constructor(now: () => number = () => performance.now(), jobsMax = JOBS_MAX) {
    this.#now = now;
    this.#jobsMax = jobsMax;
  }

  /**
   * Adds with `add` unless the key was answered before. What fails is forgotten: it may be tried again.
   * @throws IdempotencyKeyError if the key came with another body
   */
  async once(
    queue: string,
    key: string,
    body: { isBatch: boolean; jobs: readonly unknown[] },
    add: () => Promise<Accepted[]>,
  ): Promise<Accepted[]> {
    this.#forget();
    const name = JSON.stringify([queue, key]);
    const fingerprint = createHash('sha256').update(JSON.stringify(body)).digest('base64');
    const known = this.#known.get(name);
    if (known !== undefined) {
      if (known.fingerprint !== fingerprint) throw new IdempotencyKeyError(queue);
      return known.answer;
    }
    const remembered = { fingerprint, answer: add(), jobs: body.jobs.length, at: this.#now() };
    this.#known.set(name, remembered);
    this.#jobs += remembered.jobs;
    try {
      return await remembered.answer;
    } catch (error) {
      this.#drop(name, remembered);
      throw error;
    }
  }

  #forget(): void {
    for (const [name, remembered] of this.#known) {
      if (this.#jobs <= this.#jobsMax && this.#now() - remembered.at < REMEMBER_MS) return;
      this.#drop(name, remembered);
    }
  }

  #drop(name: string, remembered: Remembered): void {
    if (this.#known.get(name) !== remembered) return;
    this.#known.delete(name);
    this.#jobs -= remembered.jobs;
  }
}
