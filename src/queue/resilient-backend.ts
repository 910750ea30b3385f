/**
 * BullMQ's Redis backend, made to survive Redis. Every operation meets the policy of its kind
 * (`policy.ts`); no connection error, failover reply or timeout ever reaches BullMQ's main loop, which
 * would drop the job's outcome or sleep for 15 s.
 *
 * It has no connection of its own: commands go through the target's present generation. Scripts go
 * through `execCommand`, the only way from BullMQ to its Lua; there they are fenced.
 */
import {
  type IQueueBackend,
  type JobJson,
  type ParentKeyOpts,
  QueueKeys,
  RedisQueueBackend,
  type StreamReadRaw,
} from 'bullmq';
import { ClientClosedError, RedisUnavailableError } from '../errors.ts';
import { annotate, annotatedJob } from './annotate.ts';
import { untilOver } from './asides.ts';
import type { BackendOptions, BackendRole } from './backend-options.ts';
import { callerSignal } from './caller.ts';
import { directMethods } from './direct-methods.ts';
import { isFenced, keyCount } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { Marker } from './idle-read.ts';
import { aliasKey } from './job-alias.ts';
import { QueueLedger } from './ledger.ts';
import { LockKeeper } from './lock-keeper.ts';
import { kindOf, withoutFetch } from './policy.ts';
import { type FlowEntries, Sender } from './sender.ts';
import { Settler } from './settler.ts';
import { BLOCK_SECONDS_MIN, blockingReply, overdueError, Taker } from './taker.ts';
import type { TargetCore } from './target-core.ts';

/** BullMQ's adapter marks clients so; a pipeline or transaction carries no mark. */
type MaybeClient = { __bullmq_iredis?: boolean };

export class ResilientBackend extends RedisQueueBackend {
  readonly #core: TargetCore;
  readonly #role: BackendRole;
  /** Gets an error by the deadline instead of waiting. */
  readonly #wantsAnswer: boolean;
  readonly #ledger: QueueLedger;
  readonly #options: BackendOptions;
  readonly #sender: Sender;
  readonly #taker: Taker;
  readonly #settler: Settler;
  readonly #locks: LockKeeper;
  /** Ends every waiting: the backend is closed. */
  readonly #open = new AbortController();

  constructor(core: TargetCore, name: string, options: BackendOptions, role: BackendRole) {
    const keys = new QueueKeys(options.prefix);
    super(
      core.bullConnection() as never,
      name,
      keys.getKeys(name),
      (type: string) => keys.toKey(name, type),
      options,
      undefined,
      false,
    );
    this.#core = core;
    this.#role = role;
    this.#wantsAnswer = role !== 'worker' && role !== 'listener';
    this.#options = options;
    const prefix = options.prefix ?? 'bull';
    // A FlowProducer's own backend has no queue, each job of its flows has: nothing is owed to ''.
    const isOwed = role !== 'reader' && name !== '';
    this.#ledger = isOwed ? core.ledger(prefix, name) : new QueueLedger(prefix, name);
    if (role !== 'node') {
      this.#ledger.users += 1;
      this.#open.signal.addEventListener('abort', () => {
        this.#ledger.users -= 1;
      });
    }
    this.#sender = new Sender(core, this.#ledger);
    this.#taker = new Taker(core, this.#ledger, this.#sender, this.toKey('marker'));
    this.#settler = new Settler(core, this.#ledger, this.#sender, this.#taker);
    this.#locks = new LockKeeper(core, this.#ledger, this.#sender);
    if (options.lockDuration !== undefined) this.#ledger.lockMs = options.lockDuration;
    if (options.stalledInterval !== undefined) {
      this.#ledger.stalledIntervalMs = options.stalledInterval;
    }
    if (role === 'worker') core.consumes(this.#ledger, options.concurrency ?? 1);
  }

  /** What this process owes to the backend's queue. */
  protected get ledger(): QueueLedger {
    return this.#ledger;
  }

  // Lifecycle ----------------------------------------------------------------------------------------

  /** A worker's first connection may take as long as it takes; anybody else gets an answer in time. */
  override async waitUntilReady(): Promise<void> {
    if (this.#role !== 'listener') {
      if (!this.#core.wasEverClosed()) await this.#admittedOrThrow('connecting');
      return;
    }
    // Events that come after this are expected to be seen: the connection that reads them must stand.
    await this.direct('connecting', async () => {
      const generation = this.#core.generation();
      if (generation) await this.#core.blockingClient(generation, this);
    });
  }

  /**
   * Ends waiting, not settling: `closing` stays unset, since BullMQ drops the outcome of a job that
   * finishes while its backend is closing (worker.js, `handleCompleted`).
   */
  override async close(): Promise<void> {
    this.#taker.leave();
    this.#open.abort();
  }

  override async disconnect(): Promise<void> {
    await this.close();
  }

  override async disconnectBlocking(): Promise<void> {
    this.#taker.interrupt();
  }

  override async reconnectBlocking(): Promise<void> {
    if (!this.#open.signal.aborted) this.#taker.resume();
  }

  /** The shared connection carries the process's name, not a queue's. */
  override async setName(): Promise<void> {}

  override forQueue(queueName: string, prefix?: string): IQueueBackend {
    const options = { ...this.#options, prefix: prefix ?? this.redisPrefix };
    return new ResilientBackend(this.#core, queueName, options, 'node') as never;
  }

  override get minimumBlockTimeout(): number {
    return BLOCK_SECONDS_MIN;
  }

  override waitForJob(blockTimeout: number): Promise<Marker | null> {
    return this.#taker.waitForJob(blockTimeout);
  }

  /** QueueEvents: a blocking read on a connection of its own; nothing while Redis is away. */
  override async readEvents(id: string, blockTimeout: number): Promise<StreamReadRaw> {
    const nothing = null as unknown as StreamReadRaw;
    const generation = await this.#core.admitted(this.#open.signal);
    if (!generation) return nothing;
    const outcome = await this.#sender.attempt(generation, async () => {
      const client = await this.#core.blockingClient(generation, this);
      const read = client.xread('BLOCK', blockTimeout, 'STREAMS', this.toKey('events'), id);
      const limitMs = blockTimeout > 0 ? blockTimeout : Number.MAX_SAFE_INTEGER;
      const reply = await blockingReply(this.#core, read, limitMs, this.#open.signal);
      if (reply !== 'overdue' && reply !== 'aborted') return reply as unknown as StreamReadRaw;
      this.#core.dropBlockingClient(generation, this);
      if (reply === 'overdue') throw overdueError();
      return nothing;
    });
    return outcome?.reply ?? nothing;
  }

  // Scripts ------------------------------------------------------------------------------------------

  /** BullMQ's only way to its Lua. */
  override execCommand(client: unknown, name: string, args: unknown[]): Promise<never> {
    return this.#dispatch(client, name, args) as Promise<never>;
  }

  #dispatch(client: unknown, name: string, args: readonly unknown[]): unknown {
    if (!(client as MaybeClient).__bullmq_iredis) {
      return this.#sender.queueOn(client as never, name, args);
    }
    switch (kindOf(name)) {
      case 'take':
        return this.#taker.take(name, args);
      case 'settle':
        return this.#settle(name, args);
      case 'annotate':
        return this.#annotate(name, args);
      case 'recover':
        this.#ledger.checkedAt = this.#core.clock.now();
        return this.#recoverStalled(name, args);
      case 'keep':
        return this.#sender.run(name, args);
      case 'add':
        return this.#once(name, () => this.#sender.run(name, args));
      case 'ask':
        return name === 'updateJobScheduler'
          ? this.#updateScheduler(name, args)
          : this.#ask(name, args);
    }
  }

  #settle(name: string, args: readonly unknown[]): Promise<unknown> {
    const job = this.#settler.jobOf(name, args);
    return job ? this.#settler.settle(job, name, args) : this.#ask(name, args);
  }

  /** A worker asks again after an outage; anybody else gets a typed error. */
  async #ask(name: string, args: readonly unknown[]): Promise<unknown> {
    const parent =
      name === 'moveToWaitingChildren'
        ? this.#ledger.held.get(String(args[keyCount(name) + 3]))
        : undefined;
    for (;;) {
      const generation = await this.#admittedOrThrow(name);
      if (!this.#wantsAnswer && isFenced(name) && (await this.#wasAside())) continue;
      // It may have acted before the outage: recovery has looked where the job is.
      if (parent && !this.#ledger.held.has(parent.id)) return 0;
      const outcome = await this.#sender.attempt(generation, () => this.#sender.run(name, args));
      if (outcome) {
        if (parent && outcome.reply === 0) this.#ledger.held.delete(parent.id);
        return outcome.reply;
      }
      if (this.#wantsAnswer) throw this.#core.unanswered(name);
    }
  }

  /**
   * The job that makes its scheduler's next run is named last; a rollback may undo that run. BullMQ starts
   * no job that it has fetched while this waits.
   */
  async #updateScheduler(name: string, args: readonly unknown[]): Promise<unknown> {
    const producer = this.#ledger.held.get(String(args.at(-1)));
    if (!producer) return await this.#ask(name, args);
    producer.schedulerUpdate = withoutFetch(name, args);
    this.#ledger.starting += 1;
    try {
      return await this.#ask(name, args);
    } finally {
      this.#ledger.mayStart(this.#core.clock.now());
    }
  }

  /** As long as it takes, through any outage; undefined when the backend closes first. */
  protected async patiently<T>(ask: () => Promise<T>): Promise<T | undefined> {
    while (await this.#core.admitted(this.#open.signal)) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof RedisUnavailableError)) throw error;
      }
    }
    return undefined;
  }

  /** Sent once: it may have acted when an outage takes its reply. */
  async #once<T>(operation: string, work: () => Promise<T>): Promise<T> {
    const generation = this.#core.generation() ?? (await this.#admittedOrThrow(operation));
    try {
      return await work();
    } catch (error) {
      throw this.#core.isOutage(error, generation) ? this.#core.unanswered(operation) : error;
    }
  }

  async #admittedOrThrow(operation: string): Promise<Generation> {
    const present = this.#core.generation();
    if (present) return present;
    const { ends, caller } = this.#ends();
    if (this.#wantsAnswer) ends.push(AbortSignal.timeout(this.#core.answerMs));
    const admitted = await this.#core.admitted(AbortSignal.any(ends));
    if (admitted) return admitted;
    caller?.throwIfAborted();
    if (this.#wantsAnswer && this.#open.signal.aborted) throw new ClientClosedError(operation);
    throw this.#core.unavailable(operation);
  }

  /** What ends the waiting of whoever asks. */
  #ends(): { ends: AbortSignal[]; caller: AbortSignal | undefined } {
    const caller = this.#role === 'worker' ? callerSignal() : undefined;
    return { ends: caller ? [this.#open.signal, caller] : [this.#open.signal], caller };
  }

  /** Waits for a queue that is set aside; false if it is not. */
  async #wasAside(): Promise<boolean> {
    const { aside } = this.#ledger;
    if (!aside) return false;
    const { ends, caller } = this.#ends();
    await untilOver(aside, AbortSignal.any(ends));
    caller?.throwIfAborted();
    if (this.#open.signal.aborted) throw this.#core.unavailable('a closed backend');
    return true;
  }

  override async addJobs(
    entries: { job: JobJson; jobId: string; parentKeyOpts?: ParentKeyOpts }[],
  ): Promise<string[]> {
    await this.#core.ready(this.#ledger, await this.#admittedOrThrow('addJobs'));
    return await this.#once('addJobs', () => super.addJobs(entries));
  }

  override async addFlow(entries: FlowEntries): Promise<[Error | null, string | number][]> {
    const generation = await this.#admittedOrThrow('addFlow');
    for (const { prefix, queueName } of entries) {
      await this.#core.ready(this.#core.ledger(prefix, queueName), generation);
    }
    return await this.#once('addFlow', () => super.addFlow(entries));
  }

  // Keep and recover ---------------------------------------------------------------------------------

  override async extendLock(jobId: string, token: string, duration: number): Promise<number> {
    const failed = await this.extendLocks([jobId], [token], duration);
    return failed.length === 0 ? 1 : 0;
  }

  override async extendLocks(
    jobIds: string[],
    tokens: string[],
    duration: number,
  ): Promise<string[]> {
    return await this.#locks.renew(jobIds, () => super.extendLocks(jobIds, tokens, duration));
  }

  /** Stalled jobs are recovered under a key of our own; BullMQ's key keeps plain workers from it. */
  async #recoverStalled(name: string, args: readonly unknown[]): Promise<unknown> {
    // What had ended must not run again; the next check looks anew.
    if (!this.#core.generation() || !(await this.#core.hasAdopted())) return [];
    const generation = this.#core.generation();
    if (!generation || this.#ledger.aside) return [];
    const ours = [...args];
    ours[3] = this.#ledger.key('stalled-check');
    const outcome = await this.#sender.attempt(generation, () => this.#sender.run(name, ours));
    return outcome ? outcome.reply : [];
  }

  // Notes of a handler -------------------------------------------------------------------------------

  async #annotate(name: string, args: readonly unknown[]): Promise<unknown> {
    const job = annotatedJob(this.#ledger, name, args);
    if (!job) return await this.#ask(name, args);
    const generation = this.#ledger.aside ? undefined : this.#core.generation();
    return await annotate(generation, this.#sender, job, name, args);
  }

  /**
   * A handler that limits the rate must not feel an outage: nobody takes work meanwhile anyway, and
   * recovery writes what is left of the limit before anybody does.
   */
  override async setRateLimit(expireTimeMs: number): Promise<void> {
    const ledger = this.#ledger;
    const limitedUntil = this.#core.clock.now() + expireTimeMs;
    const generation = this.#core.generation();
    if (!generation) {
      ledger.limitedUntil = limitedUntil;
      return;
    }
    const outcome = await this.#sender.attempt(generation, () => super.setRateLimit(expireTimeMs));
    if (!outcome) ledger.limitedUntil = limitedUntil;
  }

  /** The id of the job that was there when one of this id came from the journal; null if none was. */
  async aliasOf(jobId: string): Promise<string | null> {
    const key = aliasKey(this.#ledger, jobId);
    const read = async () => await (await this.client).get(key);
    return (await this.direct('aliasOf', read)) as string | null;
  }

  // Commands that are not scripts ---------------------------------------------------------------------

  /** Runs a method of BullMQ's backend that talks to the client directly; each may be asked again. */
  protected async direct(operation: string, work: () => Promise<unknown>): Promise<unknown> {
    for (;;) {
      const generation = await this.#admittedOrThrow(operation);
      const outcome = await this.#sender.attempt(generation, work);
      if (outcome) return outcome.reply;
      if (this.#wantsAnswer) throw this.#core.unanswered(operation);
    }
  }

  static {
    for (const [method, inherited] of directMethods()) {
      Object.defineProperty(ResilientBackend.prototype, method, {
        configurable: true,
        writable: true,
        value(this: ResilientBackend, ...args: unknown[]) {
          return this.direct(method, () => inherited.apply(this, args));
        },
      });
    }
  }
}
