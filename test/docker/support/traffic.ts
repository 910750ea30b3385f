/**
 * Producers that go on during an outage: one HTTP enqueue after another at a steady pace, to each replica
 * in turn. Keeps what was accepted, what was refused, and how long the slowest answer took.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type Accepted, ask, type Replica } from './fleet.ts';

const EVERY_MS = 50;

export class Traffic {
  readonly accepted: Accepted[] = [];
  readonly refused: { status: number; code: unknown }[] = [];
  slowestMs = 0;
  readonly #replicas: readonly Replica[];
  readonly #jobMs: number;
  readonly #end = new AbortController();
  readonly #loop: Promise<void>;

  constructor(replicas: readonly Replica[], jobMs: number) {
    this.#replicas = replicas;
    this.#jobMs = jobMs;
    this.#loop = this.#run();
  }

  /** Ends after the request under way; rejects when one got no answer. */
  async stop(): Promise<void> {
    this.#end.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    for (let n = 0; !this.#end.signal.aborted; n += 1) {
      const { url } = this.#replicas[n % this.#replicas.length]!;
      const began = performance.now();
      const { status, body } = await ask(`${url}/v1/queues/count/jobs`, {
        data: { ms: this.#jobMs },
      });
      this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
      if (status === 202) this.accepted.push(body as Accepted);
      else this.refused.push({ status, code: (body as { code?: unknown }).code });
      await pause(EVERY_MS);
    }
  }
}
