/**
 * Sends the scripts of one queue: fenced, on a generation, with the breaker told of every failure that
 * is an outage. Knows nothing of what an operation means.
 */
import type { RedisQueueBackend } from 'bullmq';
import { fenceArgs, isFenced, queueScript, type Transaction } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';
import { kindOf } from './policy.ts';
import { onServerClock } from './server-clock.ts';
import type { TargetCore } from './target-core.ts';

/** The server answered: with a result or with BullMQ's own no. */
export interface Reply<T = unknown> {
  reply: T;
}

export class Sender {
  readonly #core: TargetCore;
  readonly #ledger: QueueLedger;

  constructor(core: TargetCore, ledger: QueueLedger) {
    this.#core = core;
    this.#ledger = ledger;
  }

  /** @throws the reply's error, or that Redis is away */
  run(
    script: string,
    args: readonly unknown[],
    generation: Generation | undefined = this.#core.generation(),
  ): Promise<unknown> {
    if (!generation) return Promise.reject(this.#core.unavailable(script));
    const timely = onServerClock(script, args, generation);
    const { readyIn, aside } = this.#ledger;
    // A script that only reads needs no epoch, and begins none. The locks of what runs here are kept with the
    // epoch of before also while the queue is set aside.
    const isFree = !isFenced(script) || (aside !== undefined && kindOf(script) === 'keep');
    if (readyIn === generation || isFree) {
      return this.#core.send(generation, this.#ledger, script, timely);
    }
    return this.#core
      .ready(this.#ledger, generation)
      .then(() => this.#core.send(generation, this.#ledger, script, timely));
  }

  /**
   * Runs `work` on a generation. Resolves with the reply, or undefined when an outage took it: the
   * breaker knows already, and what the request did is decided by recovery.
   * @throws what is not an outage
   */
  async attempt<T>(generation: Generation, work: () => Promise<T>): Promise<Reply<T> | undefined> {
    try {
      return { reply: await work() };
    } catch (error) {
      if (this.#core.isOutage(error, generation)) return undefined;
      throw error;
    }
  }

  /** Queues a script on a pipeline or a transaction, synchronously, as BullMQ expects it. */
  queueOn(pipeline: Transaction, script: string, args: readonly unknown[]): void {
    const generation = this.#core.generation();
    // Without a generation it rejects when it is executed: its connection has ended.
    const sent = isFenced(script) && generation ? this.#fenced(script, args, generation) : args;
    queueScript(pipeline, script, sent);
  }

  #fenced(script: string, args: readonly unknown[], generation: Generation): unknown[] {
    const deadline = generation.serverNow() + this.#core.fenceMs();
    return fenceArgs(script, args, this.#ownerOf(args).fence(this.#core.processId, deadline));
  }

  /** A flow writes into several queues through one backend: whose epoch counts is told by the keys. */
  #ownerOf(args: readonly unknown[]): QueueLedger {
    const own = this.#ledger;
    const first = String(args[0]);
    if (own.queue !== '' && first.startsWith(`${own.prefix}:${own.queue}:`)) return own;
    const rest = first.slice(own.prefix.length + 1);
    return this.#core.ledger(own.prefix, rest.slice(0, rest.indexOf(':')));
  }
}

/** The arguments of `addFlow`'s entries, as far as they say whose queue they are. */
export type FlowEntries = Parameters<RedisQueueBackend['addFlow']>[0];
