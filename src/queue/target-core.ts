/**
 * What a backend asks of the target that it belongs to. An interface, so that the backend says what
 * an operation does in an outage and the target says whether there is one.
 */

import type { Cluster, Redis } from 'ioredis';
import type { RedisUnavailableError } from '../errors.ts';
import type { Clock } from '../time.ts';
import type { Generation } from './generation.ts';
import type { IdleRead } from './idle-read.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';

/** What recovery found out about a job; see `lua/retake.ts`. */
export type Verdict = 'kept' | 'pulled' | 'settled' | 'foreign' | 'replaced' | 'missing';

export interface Settlement {
  job: HeldJob;
  command: string;
  args: readonly unknown[];
}

export interface TargetCore {
  readonly clock: Clock;
  /** Identifies this life of this process in keys and epochs. */
  readonly processId: string;
  /** The blocking read that quiet queues share. */
  readonly idleRead: IdleRead;
  /** Milliseconds in which a producer gets an answer. */
  readonly answerMs: number;

  ledger(prefix: string, queue: string): QueueLedger;
  /** A worker of this process consumes the queue with this many slots. */
  consumes(ledger: QueueLedger, concurrency: number): void;
  /** The object that BullMQ's backend takes for its connection. */
  bullConnection(): unknown;

  /** The present generation while the breaker is closed. */
  generation(): Generation | undefined;
  /** While memory is full: the generation on which settles pass although the breaker is open. */
  settlingGeneration(): Generation | undefined;
  wasEverClosed(): boolean;
  /** Resolves when the breaker is closed; undefined when `signal` aborts first. */
  admitted(signal: AbortSignal): Promise<Generation | undefined>;
  /** Whether outage, barrier and slow start let one more job of the queue begin now. */
  mayTake(ledger: QueueLedger): boolean;
  /** As `admitted`, and when barrier and slow start let one more job of the queue begin. */
  admittedToTake(ledger: QueueLedger, signal: AbortSignal): Promise<Generation | undefined>;
  /** Whether a settle may bring the next job along. */
  mayFetchWithSettle(ledger: QueueLedger): boolean;
  /** Resolves when the queue's epoch is set in this generation. */
  ready(ledger: QueueLedger, generation: Generation): Promise<void>;

  /** Milliseconds within which a command must run at the server after it was sent. */
  fenceMs(): number;
  /** Milliseconds beyond its block that a blocking read may take. */
  patienceMs(): number;

  /** Sends one script of BullMQ's for a queue, fenced; one that came late is sent again. */
  send(
    generation: Generation,
    ledger: QueueLedger,
    script: string,
    args: readonly unknown[],
  ): Promise<unknown>;
  /** True when the error is an outage; the breaker has been told. */
  isOutage(error: unknown, generation: Generation): boolean;
  /** For what was not sent. */
  unavailable(operation: string): RedisUnavailableError;
  /** For what was sent and got no answer: it may have acted. */
  unanswered(operation: string): RedisUnavailableError;

  /**
   * Takes a job that runs from the journal while Redis is away; undefined if there is none.
   * @param worker the name of who takes it
   */
  takeFromJournal(ledger: QueueLedger, token: string, worker?: string): Promise<unknown>;
  /** Resolves when one may be taken, or `signal` aborts; undefined where none ever may. */
  workInJournal(ledger: QueueLedger, signal: AbortSignal): Promise<void> | undefined;

  blockingClient(generation: Generation, owner: object): Promise<Redis | Cluster>;
  dropBlockingClient(generation: Generation, owner: object): void;

  /** A job begins here; the first after an outage is told in its record. */
  tookJob(): void;
  /** Keeps an outcome on disk until Redis has it. */
  journalOutcome(ledger: QueueLedger, settlement: Settlement): Promise<void>;
  /** Redis has the outcome: remembered for the rollback window. */
  acknowledged(ledger: QueueLedger, settlement: Settlement): void;
  /** What dead replicas finished is in Redis; false: that is not known yet. */
  hasAdopted(): Promise<boolean>;
  /** Asks Redis whose the job is, and takes it back if it is free. */
  verdictOn(ledger: QueueLedger, job: HeldJob): Promise<Verdict | 'unknown'>;
  /** The job was truly lost to another: the run is told to stop. */
  lockLost(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void;
  /** The run's outcome is not recorded, since the job is another's by now. */
  outcomeDropped(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void;
}
