/**
 * What a queue's keys in Redis say against running its jobs without Redis: a pause, or a limit over all
 * replicas. Read now and then while Redis is there, since nobody can ask when it is not.
 */
import type { Logger } from 'pino';
import type { Clock } from '../time.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';

/** So often, ms. */
const LOOK_MS = 5000;

export interface IslandRulesDeps {
  clock: Clock;
  log: Logger;
  queues(): Iterable<{ ledger: QueueLedger; refusal: string | undefined }>;
  generation(): Generation | undefined;
  isOutage(error: unknown, generation: Generation): boolean;
}

export class IslandRules {
  readonly #deps: IslandRulesDeps;
  #cancel: (() => void) | undefined;
  #isLooking = false;
  #isStopped = false;

  constructor(deps: IslandRulesDeps) {
    this.#deps = deps;
  }

  follow(): void {
    if (this.#isStopped) return;
    this.#cancel ??= this.#deps.clock.after(LOOK_MS, () => {
      this.#cancel = undefined;
      void this.look();
      this.follow();
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  async look(): Promise<void> {
    const generation = this.#deps.generation();
    if (!generation || this.#isLooking) return;
    this.#isLooking = true;
    try {
      for (const queue of this.#deps.queues()) {
        const meta = queue.ledger.toKey('meta');
        const [paused, concurrency, max] = await generation.client.hmget(
          meta,
          'paused',
          'concurrency',
          'max',
        );
        this.#tell(queue, refusalOf(paused, concurrency, max));
      }
    } catch (error) {
      // What was read last stands; a connection that never answers is ended by the watch.
      this.#deps.isOutage(error, generation);
    } finally {
      this.#isLooking = false;
    }
  }

  #tell(
    queue: { ledger: QueueLedger; refusal: string | undefined },
    refusal: string | undefined,
  ): void {
    if (refusal === queue.refusal) return;
    queue.refusal = refusal;
    if (refusal === undefined) return;
    const name = queue.ledger.queue;
    this.#deps.log.warn(
      { event: 'island.refused', queue: name, reason: refusal },
      `queue ${name} does not run from the journal while Redis is away: ${refusal}`,
    );
  }
}

type Field = string | null | undefined;

function refusalOf(paused: Field, concurrency: Field, max: Field): string | undefined {
  if (paused) return 'it is paused';
  if (concurrency) return `it has a global concurrency of ${concurrency}`;
  if (max) return 'it has a global rate limit';
  return undefined;
}
