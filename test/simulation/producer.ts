/**
 * One life of a producer: production's intake, series, replayer, adoption and journal, put together and
 * stopped in the order in which the target does it.
 */
import type { Journal } from '../../src/journal/journal.ts';
import type { AddWork } from '../../src/queue/add-series.ts';
import { Adoption, type AdoptionDeps } from '../../src/queue/adoption.ts';
import type { NumberArgs } from '../../src/queue/fenced-scripts.ts';
import type { Generation } from '../../src/queue/generation.ts';
import { type Arrival, Intake } from '../../src/queue/intake.ts';
import { QueueLedger } from '../../src/queue/ledger.ts';
import { Replayer } from '../../src/queue/replayer.ts';
import type { Receipt } from '../../src/queue/takeover.ts';
import type { Clock, Random } from '../../src/time.ts';
import { Connection } from './connection.ts';
import type { Dataset } from './dataset.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** How long a producer remembers what Redis acknowledged, ms. */
export const WINDOW_MS = 2000;
export const ENQUEUE_TIMEOUT_MS = 2000;
/** Between two looks for what dead replicas left, ms; up to twice that. */
const ADOPT_EVERY_MS = 8000;

export interface ProducerOptions {
  /** Of the world, for what happens outside of the process. */
  outside: VirtualClock;
  /** Of the process: nothing of a dead one happens any more. */
  clock: Clock;
  random: Random;
  dataset: Dataset;
  processId: string;
  journal: Journal;
  onTrouble(error: unknown): void;
}

/** Jobs that are added together. */
export interface Ask {
  queue: string;
  ids: readonly string[];
  /** One by one in one call, or all in one script. */
  shape: 'many' | 'flow';
  isStrict: boolean;
}

export class Producer {
  readonly #options: ProducerOptions;
  readonly #intake: Intake;
  readonly #replayer: Replayer;
  readonly #adoption: Adoption;
  readonly #ledgers = new Map<string, QueueLedger>();
  readonly #started: Promise<void>;
  #connection: Connection | undefined;
  #generation: Generation | undefined;
  #runId: number | undefined;
  #roundTripMs = 1;
  #isStopped = false;

  constructor(options: ProducerOptions) {
    this.#options = options;
    const { clock, dataset, journal, processId, random, onTrouble } = options;
    const asked = async (_: unknown, generation: Generation) => {
      await connectionOf(generation).request(() => undefined);
    };
    const isOutage = (_: unknown, generation: Generation) => !connectionOf(generation).isAlive;
    const shared = {
      clock,
      processId,
      rollbackWindowMs: WINDOW_MS,
      generation: () => this.#generation,
      ready: asked,
      compareClocks: (generation: Generation) => asked(undefined, generation),
      isOutage,
      onTrouble: (_: unknown, error: unknown) => onTrouble(error),
    };
    this.#replayer = new Replayer(
      {
        ...shared,
        ledger: (_, queue) => this.#ledger(queue),
        workOf: async ({ queue }, { jobId, flow }) =>
          this.#work(queue, flow ? flow.map((job) => job.jobId) : [jobId]),
        // Small, so that a replay is of many pages.
        pageEntries: 4,
        onChange: () => this.#intake.changed(),
        onClear: () => undefined,
        isRunning: () => false,
      },
      journal,
    );
    this.#intake = new Intake(
      {
        ...shared,
        enqueueTimeoutMs: ENQUEUE_TIMEOUT_MS,
        roundTripMs: () => this.#roundTripMs,
        isConnecting: () => this.#runId === undefined,
        onUnsent: () => undefined,
        onJournaled: () => undefined,
        onRedone: () => undefined,
        onRefusedAgain: (_, { jobIds }) => {
          for (const jobId of jobIds) dataset.toldRefused.add(jobId);
        },
        restore: () => {
          throw new Error('the window keeps these as they are');
        },
        onWindowFull: () => undefined,
      },
      journal,
      this.#replayer,
    );
    this.#adoption = new Adoption({
      clock,
      random,
      journal,
      everyMs: ADOPT_EVERY_MS,
      generation: () => this.#generation,
      isOutage,
      drain: async () => undefined,
      log: { info: () => undefined, error: ({ err }: { err: unknown }) => onTrouble(err) },
      // No outcomes and no islands here.
      ledgers: { all: () => [] },
      settlements: { forgetStuck: async () => undefined, adopt: () => undefined },
      later: () => ({
        islands: { found: () => undefined, bringFound: async () => undefined },
        producing: this.#replayer,
      }),
    } as unknown as AdoptionDeps);
    this.#started = this.#adoption.start().catch(onTrouble);
  }

  enqueue({ queue, ids, shape, isStrict }: Ask): Promise<Receipt[]> {
    const ledger = this.#ledger(queue);
    const arrival = (jobIds: readonly string[], flow: boolean): Arrival => ({
      ledger,
      job: {
        jobId: jobIds[0]!,
        name: 'job',
        ...(flow ? { flow: jobIds.map((jobId) => ({ jobId })) as never } : {}),
      },
      work: () => this.#work(queue, jobIds),
      isStrict,
      refusal: (code) => new Error(`refused: ${code}`),
    });
    if (shape === 'many' && ids.length > 1)
      return this.#intake.acceptAll(ids.map((id) => arrival([id], false)));
    return this.#intake.accept(arrival(ids, shape === 'flow')).then((receipt) => [receipt]);
  }

  /** The breaker recovers and closes on a new connection, in the order in which the target does it. */
  async connect(): Promise<void> {
    const { outside, random, dataset } = this.#options;
    await this.#started;
    if (this.#isStopped || this.#connection || !dataset.isUp || dataset.isFrozen) return;
    const connection = new Connection(dataset, outside, random);
    this.#connection = connection;
    const generation = generationOf(connection, dataset);
    this.#roundTripMs = dataset.latencyMs;
    await this.#adoption.inRecovery();
    if (this.#isStopped || !connection.isAlive) return;
    const isSame = this.#runId === dataset.runId;
    this.#runId = dataset.runId;
    this.#generation = generation;
    if (!isSame) this.#replayer.rewind();
    void this.#intake.recovered(generation).then(() => this.#replayer.recovered(generation));
    this.#adoption.admitted();
    this.#intake.changed();
  }

  /** The breaker opens. */
  disconnect(): void {
    if (!this.#connection) return;
    this.#generation = undefined;
    this.#replayer.interrupted();
    this.#connection.cut(true);
    this.#connection = undefined;
    this.#intake.changed();
  }

  /** As the target stops, and then its journal. @returns entries that Redis may not have */
  async close(): Promise<number> {
    await this.#started;
    this.#adoption.stop();
    this.#intake.stop();
    await this.#replayer.stop();
    this.#isStopped = true;
    this.disconnect();
    return (await this.#options.journal.close()).left;
  }

  /** What was sent may still arrive; nobody hears of it. */
  die(): void {
    this.#isStopped = true;
    this.#generation = undefined;
    this.#connection?.cut(false);
  }

  /** Queues of which something is remembered although nothing is in doubt. */
  get unforgotten(): string[] {
    return [...this.#ledgers.values()]
      .filter((ledger) => !this.#intake.forget(ledger))
      .map(({ queue }) => queue);
  }

  #work(queue: string, ids: readonly string[]): AddWork {
    const { dataset } = this.#options;
    const send = (isAgain: boolean) => (generation: Generation, number: NumberArgs) =>
      connectionOf(generation).request(() => dataset.add(queue, ids, number, isAgain));
    return { jobId: ids[0]!, bytes: 100, send: send(false), sendAgain: send(true) };
  }

  #ledger(queue: string): QueueLedger {
    let ledger = this.#ledgers.get(queue);
    if (!ledger) {
      ledger = new QueueLedger('bull', queue);
      this.#ledgers.set(queue, ledger);
    }
    return ledger;
  }
}

const connections = new WeakMap<Generation, Connection>();

function generationOf(connection: Connection, dataset: Dataset): Generation {
  const generation = {
    get alive() {
      return connection.isAlive;
    },
    client: {
      get: (key: string) => connection.request(() => dataset.get(key)),
      expire: async () => 1,
      set: async () => 'OK',
    },
  } as unknown as Generation;
  connections.set(generation, connection);
  return generation;
}

function connectionOf(generation: Generation): Connection {
  return connections.get(generation)!;
}
