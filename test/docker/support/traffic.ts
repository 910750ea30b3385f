/**
 * Producers that go on during an outage, and while replicas are taken away: one HTTP enqueue after another
 * at a steady pace, to each replica in turn. As a balancer does, a request that a replica does not answer,
 * or that one refuses because it stops, goes to the next; asking again adds nothing twice, by the job's id.
 * Keeps what was accepted, what no replica took, and how long the slowest answer took.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type Accepted, type Answer, ask, type Replica } from './fleet.ts';

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

  /** Ends after the request under way. */
  async stop(): Promise<void> {
    this.#end.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    for (let n = 0; !this.#end.signal.aborted; n += 1) {
      const began = performance.now();
      const { status, body } = await this.#add(n);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
      if (status === 202) this.accepted.push(body as Accepted);
      else this.refused.push({ status, code: (body as { code?: unknown }).code });
      await pause(EVERY_MS);
    }
  }

  /** The answer of the first replica, from the n-th on, that takes the job; else that of the last. */
  async #add(n: number): Promise<Answer> {
    const job = { data: { ms: this.#jobMs }, options: { jobId: randomUUID() } };
    let answer: Answer = { status: 0, body: {} };
    for (let tried = 0; tried < this.#replicas.length && answer.status !== 202; tried += 1) {
      const { url } = this.#replicas[(n + tried) % this.#replicas.length]!;
      answer = await ask(`${url}/v1/queues/count/jobs`, job).catch((error: Error) => ({
        status: 0,
        body: { code: error.cause instanceof Error ? error.cause.message : error.message },
      }));
    }
    return answer;
  }
}
