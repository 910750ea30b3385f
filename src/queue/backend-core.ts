/**
 * What backends ask of their target, answered by its parts: who may go on, whose a job is, what becomes
 * of an outcome, what an error means. Decides nothing itself.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Config } from '../config.ts';
import { RedisUnavailableError } from '../errors.ts';
import type { OutageRecorder } from '../outage/recorder.ts';
import type { Clock } from '../time.ts';
import type { Admission } from './admission.ts';
import type { Adoption } from './adoption.ts';
import type { BlockingClients } from './blocking-clients.ts';
import { bullmqConnection } from './bullmq-connection.ts';
import type { Comeback } from './comeback.ts';
import type { Detector } from './detector.ts';
import type { Generation } from './generation.ts';
import { IdleRead } from './idle-read.ts';
import type { Islands } from './island.ts';
import type { Leases } from './leases.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';
import type { Ledgers } from './ledgers.ts';
import { onlyReads } from './policy.ts';
import type { QueueCare } from './queue-care.ts';
import type { Settlements } from './settlements.ts';
import { readMarkers } from './taker.ts';
import type { Settlement, TargetCore, Verdict } from './target-core.ts';
import type { Watch } from './watch.ts';

export interface BackendCoreParts {
  clock: Clock;
  processId: string;
  config: Pick<Config, 'resilience'>;
  ledgers: Ledgers;
  outages: OutageRecorder;
  admission: Admission;
  detector: Detector;
  comeback: Comeback;
  watch: Watch;
  care: QueueCare;
  adoption: Adoption;
  blocking: BlockingClients;
  islands: Islands;
  settlements: Settlements;
  leases: Leases;
  quietAfterMs: number | undefined;
}

/** Between giving a command up and its time being over at the server, ms. */
const FENCE_SLACK_MS = 500;

export class BackendCore implements TargetCore {
  readonly clock: Clock;
  readonly processId: string;
  readonly answerMs: number;
  readonly idleRead: IdleRead;
  readonly #parts: BackendCoreParts;

  constructor(parts: BackendCoreParts) {
    this.#parts = parts;
    this.clock = parts.clock;
    this.processId = parts.processId;
    this.answerMs = parts.config.resilience.enqueueTimeoutMs;
    this.idleRead = new IdleRead({
      clock: parts.clock,
      quietAfterMs: parts.quietAfterMs,
      read: (...asked) => readMarkers(this, ...asked),
    });
  }

  ledger(prefix: string, queue: string): QueueLedger {
    return this.#parts.ledgers.of(prefix, queue);
  }

  consumes(ledger: QueueLedger, concurrency: number): void {
    ledger.concurrency = concurrency;
  }

  bullConnection(): unknown {
    return bullmqConnection({
      client: () => this.generation()?.adapted,
      identity: () => this.#parts.comeback.identity,
      unavailable: () => this.unavailable('a command'),
    });
  }

  // Who may go on ------------------------------------------------------------------------------------

  generation(): Generation | undefined {
    return this.#parts.admission.generation;
  }

  settlingGeneration(): Generation | undefined {
    const { comeback, detector } = this.#parts;
    const { settling } = comeback;
    return detector.state.condition === 'out-of-memory' && settling?.alive ? settling : undefined;
  }

  wasEverClosed(): boolean {
    return this.#parts.admission.everOpen;
  }

  admitted(signal: AbortSignal): Promise<Generation | undefined> {
    return this.#parts.admission.admitted(signal);
  }

  mayTake(ledger: QueueLedger): boolean {
    return this.#parts.admission.mayTake(ledger);
  }

  admittedToTake(ledger: QueueLedger, signal: AbortSignal): Promise<Generation | undefined> {
    return this.#parts.admission.admittedToTake(ledger, signal);
  }

  mayFetchWithSettle(ledger: QueueLedger): boolean {
    return this.#parts.admission.mayFetchWithSettle(ledger);
  }

  ready(ledger: QueueLedger, generation: Generation): Promise<void> {
    return this.#parts.care.ready(ledger, generation);
  }

  // Sending ------------------------------------------------------------------------------------------

  send(
    generation: Generation,
    ledger: QueueLedger,
    script: string,
    args: readonly unknown[],
  ): Promise<unknown> {
    return this.#parts.care.send(generation, ledger, script, args);
  }

  fenceMs(): number {
    const { config, watch } = this.#parts;
    return config.resilience.pulseIntervalMs + watch.timeoutMs + FENCE_SLACK_MS;
  }

  patienceMs(): number {
    return this.#parts.detector.patienceMs;
  }

  isOutage(error: unknown, generation: Generation): boolean {
    return this.#parts.detector.isOutage(error, generation);
  }

  unavailable(operation: string): RedisUnavailableError {
    const { condition, outageId } = this.#parts.detector.state;
    return new RedisUnavailableError(operation, condition ?? 'reset', outageId);
  }

  unanswered(operation: string): RedisUnavailableError {
    const { condition = 'reset', outageId } = this.#parts.detector.state;
    return onlyReads(operation)
      ? this.unavailable(operation)
      : RedisUnavailableError.unanswered(operation, condition, outageId);
  }

  blockingClient(generation: Generation, owner: object): Promise<Redis | Cluster> {
    return this.#parts.blocking.of(generation, owner);
  }

  dropBlockingClient(generation: Generation, owner: object): void {
    this.#parts.blocking.drop(generation, owner);
  }

  // Jobs and outcomes --------------------------------------------------------------------------------

  takeFromJournal(ledger: QueueLedger, token: string, worker?: string): Promise<unknown> {
    return this.#parts.islands.take(ledger, token, worker);
  }

  workInJournal(ledger: QueueLedger, signal: AbortSignal): Promise<void> | undefined {
    return this.#parts.islands.work(ledger, signal);
  }

  tookJob(): void {
    this.#parts.outages.firstJob();
  }

  async journalOutcome(ledger: QueueLedger, settlement: Settlement): Promise<void> {
    const { settlements, outages, islands, comeback } = this.#parts;
    await settlements.keep(ledger, settlement);
    outages.count('journaled');
    islands.ended(settlement);
    const generation = this.generation();
    // The outage was over before this came in: nobody else would write it.
    if (generation) await comeback.drain(ledger, generation);
  }

  acknowledged(ledger: QueueLedger, settlement: Settlement): void {
    this.#parts.settlements.acknowledged(ledger, settlement);
  }

  hasAdopted(): Promise<boolean> {
    return this.#parts.adoption.isDone();
  }

  async verdictOn(ledger: QueueLedger, job: HeldJob): Promise<Verdict | 'unknown'> {
    const generation = this.generation();
    if (!generation || ledger.aside) return 'unknown';
    try {
      return await this.#parts.care.verdictOn(ledger, job, generation);
    } catch (error) {
      if (this.isOutage(error, generation)) return 'unknown';
      throw error;
    }
  }

  lockLost(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void {
    this.#parts.leases.lost(ledger, job, verdict);
  }

  outcomeDropped(ledger: QueueLedger, job: HeldJob, verdict: Verdict): void {
    this.#parts.settlements.dropped(ledger, job, verdict);
    this.#parts.leases.dropped(ledger, job);
  }
}
