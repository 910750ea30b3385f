/**
 * The producer's side of a target: accepted jobs, their way to Redis, and what recovery does for them.
 */
import type { BackendFactory, RedisQueueBackend } from 'bullmq';
import type { Logger } from 'pino';
import { QueueSetAsideError } from '../errors.ts';
import type { Position } from '../journal/entry.ts';
import type { FoundJob, Journal } from '../journal/journal.ts';
import { AcceptingBackend } from './accepting-backend.ts';
import { storedWork, workOf } from './add-work.ts';

import type { BackendOptions } from './backend-options.ts';
import { ENDED_PAGE_ENTRIES, endedJobs } from './ended-jobs.ts';

import type { Generation } from './generation.ts';
import { Intake } from './intake.ts';
import type { Islands } from './island.ts';
import type { AcceptedJob } from './job-store.ts';
import type { QueueLedger } from './ledger.ts';
import { ReplayNotes } from './replay-notes.ts';
import { Replayer } from './replayer.ts';
import type { TargetCore } from './target-core.ts';

export interface ProducingOptions {
  core: TargetCore;
  journal: Journal;
  log: Logger;
  prefix: string;
  rollbackWindowMs: number;
  enqueueTimeoutMs: number;
  compareClocks(generation: Generation): Promise<void>;
  /** The last known round trip to Redis, ms. */
  roundTripMs(): number;
  isConnecting(): boolean;
  islands: Islands;
  /** A job went into the journal. */
  onAccepted(): void;
  /** How a job of the journal ended is owed like any outcome, and written now. */
  owe(position: Position, generation: Generation): Promise<void>;
  /** Redis has so many jobs with how they ended that ran from the journal. */
  onReturned(jobs: number): void;
  /** So many went from the journal to Redis, and none is left. */
  onReplayed(jobs: number): void;
}

/** Between two looks whether Redis has all, ms. */
const CLEAR_LOOK_MS = 5;

export class Producing {
  readonly #options: ProducingOptions;
  readonly #intake: Intake;
  readonly #replayer: Replayer;
  /** Of what ran from the journal to its end. */
  readonly #returner: Replayer;
  readonly #notes: ReplayNotes;

  constructor(options: ProducingOptions) {
    this.#options = options;
    const { core, journal, log, islands, rollbackWindowMs, enqueueTimeoutMs, compareClocks } =
      options;
    const shared = {
      clock: core.clock,
      processId: core.processId,
      rollbackWindowMs,
      generation: () => core.generation(),
      ready: (ledger: QueueLedger, generation: Generation) => core.ready(ledger, generation),
      isOutage: (error: unknown, generation: Generation) => core.isOutage(error, generation),
      compareClocks,
      onTrouble: (ledger: QueueLedger | undefined, error: unknown) => {
        // Told when it was set aside.
        if (error instanceof QueueSetAsideError) return;
        log.error(
          { event: 'enqueue.delayed', queue: ledger?.queue, err: error },
          'accepted jobs could not be written to Redis; they stay in the journal and are tried again',
        );
      },
    };
    this.#notes = new ReplayNotes(core.clock, (jobs) =>
      log.info({ event: 'journal.replayed', jobs }, `${jobs} jobs from the journal are in Redis`),
    );
    const replayed = {
      ...shared,
      ledger: (prefix: string, queue: string) => core.ledger(prefix, queue),
      workOf: (ledger: QueueLedger, job: AcceptedJob) => workOf(core, ledger, job),
      onClear: (count: number) => {
        options.onReplayed(count);
        this.#notes.replayed(count);
      },
    };
    this.#replayer = new Replayer(
      {
        ...replayed,
        isRunning: (position) => islands.has(position),
        onChange: () => this.#intake.changed(),
      },
      journal,
    );
    this.#returner = new Replayer(
      {
        ...replayed,
        pageEntries: ENDED_PAGE_ENTRIES,
        isRunning: (position) => islands.isUnderWay(position),
        ended: (page) => islands.ends.worksOf(page),
        owe: (position, generation) => options.owe(position, generation),
        onForgotten: (positions) => islands.ends.forget(positions),
        onReturned: (count) => options.onReturned(count),
        onChange: () => undefined,
      },
      endedJobs(journal, islands.ends),
    );
    this.#intake = new Intake(
      {
        ...shared,
        enqueueTimeoutMs,
        onRefusedAgain: ({ queue }, refused) =>
          log.error(
            { event: 'enqueue.refused_again', queue, ...refused },
            'Redis lost jobs that it had acknowledged, and refuses them now: look at the reason and enqueue them again',
          ),
        isConnecting: options.isConnecting,
        roundTripMs: options.roundTripMs,
        onUnsent: (ledger, position) => options.islands.kept(ledger, position),
        onJournaled: () => options.onAccepted(),
        onRedone: (ledger, count) => {
          log.warn(
            { event: 'enqueue.redone', queue: ledger.queue, jobs: count },
            `${count} jobs that Redis had acknowledged and lost were added again`,
          );
        },
        restore: storedWork,
        onWindowFull: (ledger) => this.#windowFull(ledger),
      },
      journal,
      this.#replayer,
    );
  }

  get #replays(): readonly Replayer[] {
    return [this.#replayer, this.#returner];
  }

  /** For BullMQ's Queue and FlowProducer: their jobs are kept whatever Redis does. */
  factory(durability: 'normal' | 'strict'): BackendFactory<RedisQueueBackend> {
    const { core, prefix } = this.#options;
    return ((name: string, options: BackendOptions) =>
      new AcceptingBackend(
        core,
        name,
        { ...options, prefix: options.prefix ?? prefix },
        {
          intake: this.#intake,
          isStrict: durability === 'strict',
          journaled: (queue, jobId) => this.journaled(queue, jobId),
        },
      )) as unknown as BackendFactory<RedisQueueBackend>;
  }

  /** The breaker closed. `isSameDataset`: nothing that was acknowledged can have been lost. */
  async admitted(generation: Generation, isSameDataset: boolean): Promise<void> {
    if (!isSameDataset) for (const replay of this.#replays) replay.rewind();
    if (this.#options.islands.ends.size > 0) this.#returner.expect()(true);
    this.#notes.outageOver();
    await this.#intake.recovered(generation);
    for (const replay of this.#replays) replay.recovered(generation);
  }

  /** A queue that was set aside is one like the others. */
  async takenBack(ledger: QueueLedger, generation: Generation): Promise<void> {
    for (const replay of this.#replays) replay.adopted();
    await this.#intake.takenBack(ledger, generation);
  }

  /** The breaker moved: whoever is held may know more now. */
  changed(): void {
    this.#intake.changed();
  }

  /** A job that the journal has and Redis does not, as far as this process knows. */
  journaled(queue: string, jobId: string): Promise<FoundJob | undefined> {
    const isInRedis = (position: Position) => this.#replays.some((each) => each.lingers(position));
    return this.#options.journal.find(queue, jobId, isInRedis);
  }

  /** Nothing behind this entry was written to a socket by the replay. */
  get touched(): Position {
    return this.#replayer.touched;
  }

  /** The breaker opened. */
  interrupted(): void {
    for (const replay of this.#replays) replay.interrupted();
  }

  /** Resolves when Redis has all that was accepted, or is away, or after `limitMs`. */
  async untilClear(limitMs: number): Promise<void> {
    const { core, isConnecting } = this.#options;
    const by = core.clock.now() + limitMs;
    const isClear = () => this.#intake.isIdle && this.#replays.every((each) => each.isClear);
    while ((core.generation() || isConnecting()) && !isClear() && core.clock.now() < by) {
      await new Promise<void>((resolve) => core.clock.after(CLEAR_LOOK_MS, resolve));
    }
  }

  /** Nobody uses the queue: true if nothing is owed to it, and it is forgotten. */
  forget(ledger: QueueLedger): boolean {
    return this.#intake.forget(ledger);
  }

  /** Entries of another replica came into the journal, and may go to Redis. */
  adopted(): void {
    for (const replay of this.#replays) replay.adopted();
  }

  /** No entry goes from the journal to Redis until `release`. */
  hold(): void {
    for (const replay of this.#replays) replay.hold();
  }

  release(): void {
    for (const replay of this.#replays) replay.release();
  }

  async stop(): Promise<void> {
    this.#intake.stop();
    await Promise.all(this.#replays.map((replay) => replay.stop()));
    this.#notes.stop();
  }

  readonly #toldFull = new WeakSet<QueueLedger>();

  /** Once per queue and life: a producer that is this fast would fill the log. */
  #windowFull(ledger: QueueLedger): void {
    if (this.#toldFull.has(ledger)) return;
    this.#toldFull.add(ledger);
    this.#options.log.warn(
      { event: 'enqueue.window_full', queue: ledger.queue },
      'more jobs are added within the rollback window than are kept in memory; a Redis that loses its last seconds may lose the oldest of them (durability: strict keeps them all)',
    );
  }
}
