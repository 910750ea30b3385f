/**
 * Queues that are set aside: what they have in Redis is broken, by somebody who wrote to a key of theirs. That
 * is no outage. The replica comes back without them; for them the outage goes on here until their keys are
 * whole again and recovery has taken them back, so that nothing of them is lost or runs twice: nobody takes
 * or settles their jobs, what is accepted for them waits in the journal.
 *
 * What it must never do: let one queue's data keep the others waiting.
 */
import type { Logger } from 'pino';
import type { IdentityChange } from '../redis/identity.ts';
import type { Clock } from '../time.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';
import { BULLMQ_KEYS } from './queue-keys.ts';
import { conditionIn } from './watch.ts';

/** What a queue has missed since it was last taken back. */
export interface Missed {
  change: IdentityChange;
  /** See `RecoveryInput`. */
  aliveFrom: number;
}

/** Why nobody works with a queue here, and until when. */
export interface Aside {
  /** As the end of a sentence. */
  reason: string;
  missed: Missed;
  /** Reasons that are in the log. */
  readonly told: Set<string>;
  /** Resolves when the queue was taken back. */
  readonly over: Promise<void>;
  end(): void;
}

/** What is wrong with a queue's data, and what to do. */
interface Fault {
  what: string;
  remedy: string;
  /** The key, if it is known. */
  key?: string;
}

/** Looked at again after this time, ms; what is broken costs one script each time. */
const AGAIN_MS = 2000;
/** Reasons that are told of a queue in one outage: each look may find another one. */
const TOLD_MAX = 10;

/** Redis answered, and what it says is about one queue's data: no outage, and nothing of ours. */
export function isOfData(error: unknown): boolean {
  return (
    error instanceof Error && error.name === 'ReplyError' && conditionIn(error, true) === undefined
  );
}

/** What comes later than the first of two outages that a queue missed. */
export function missedBoth({ aside }: QueueLedger, now: Missed): Missed {
  if (!aside) return now;
  const { change, aliveFrom } = aside.missed;
  const isKnown = now.change === 'same' || change === 'restarted' || change === 'failed-over';
  return {
    change: isKnown ? change : now.change,
    aliveFrom: Math.min(aliveFrom, now.aliveFrom),
  };
}

/** Resolves when the queue was taken back, or `signal` aborts. */
export async function untilOver({ over }: Aside, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise: aborted, resolve } = Promise.withResolvers<void>();
  const onAbort = () => resolve();
  signal.addEventListener('abort', onAbort, { once: true });
  await Promise.race([over, aborted]);
  signal.removeEventListener('abort', onAbort);
}

export interface AsidesDeps {
  clock: Clock;
  log: Logger;
  ledgers(): Iterable<QueueLedger>;
  /** Tries to take one queue back. Never rejects. */
  takeBack(ledger: QueueLedger, generation: Generation): Promise<void>;
}

export class Asides {
  readonly #deps: AsidesDeps;
  #cancel: (() => void) | undefined;

  constructor(deps: AsidesDeps) {
    this.#deps = deps;
  }

  /**
   * Sets those aside whose keys are of wrong types.
   * @returns which they are
   * @throws what Redis says
   */
  async look(
    ledgers: readonly QueueLedger[],
    generation: Generation,
    missed: Missed,
  ): Promise<Set<QueueLedger>> {
    const out = new Set<QueueLedger>();
    const looks = ledgers.map(async (ledger) => {
      const fault = await faultOf(ledger, generation);
      if (!fault) return;
      out.add(ledger);
      this.#set(ledger, missed, fault);
    });
    await Promise.all(looks);
    return out;
  }

  /** Recovery cannot take the queue back. */
  put(ledger: QueueLedger, missed: Missed, error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    const fault = isOfData(error)
      ? {
          what: `Redis says "${text}"`,
          remedy: `Find out who wrote to the keys ${ledger.toKey('*')}, and remove it`,
        }
      : { what: text, remedy: 'Mend that' };
    this.#set(ledger, missed, fault);
  }

  #set(ledger: QueueLedger, missed: Missed, { what, remedy, key }: Fault): void {
    const { aside: before, queue } = ledger;
    const told = before && isNothing(missed) ? before.told : new Set<string>();
    const isTold = told.has(what) || told.size >= TOLD_MAX;
    if (!isTold) told.add(what);
    const { promise, resolve } = Promise.withResolvers<void>();
    ledger.aside = {
      over: before?.over ?? promise,
      end: before?.end ?? resolve,
      reason: what,
      missed: missedBoth(ledger, missed),
      told,
    };
    if (isTold) return;
    this.#deps.log.error(
      { event: 'queue.set_aside', queue, ...(key === undefined ? {} : { key }), reason: what },
      `queue ${queue} is set aside: ${what}. Its jobs wait, all other queues go on. ${remedy}: then it comes back by itself`,
    );
  }

  /** Recovery has taken the queue back. */
  back(ledger: QueueLedger): void {
    const { aside, queue } = ledger;
    if (!aside) return;
    ledger.aside = undefined;
    aside.end();
    this.#deps.log.info({ event: 'queue.taken_back', queue }, `queue ${queue} goes on`);
  }

  /** The breaker closed: those that are aside are looked at from time to time. */
  watch(generation: Generation): void {
    this.rest();
    const { clock, ledgers, takeBack } = this.#deps;
    const aside = [...ledgers()].filter((ledger) => ledger.aside);
    if (aside.length === 0) return;
    this.#cancel = clock.after(AGAIN_MS, async () => {
      for (const ledger of aside) {
        if (generation.alive && ledger.aside) await takeBack(ledger, generation);
      }
      if (generation.alive) this.watch(generation);
    });
  }

  rest(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

/** Nothing happened to the server: it is only tried again. */
export const NOTHING_MISSED: Missed = { change: 'same', aliveFrom: Number.POSITIVE_INFINITY };

function isNothing({ aliveFrom }: Missed): boolean {
  return aliveFrom === NOTHING_MISSED.aliveFrom;
}

async function faultOf(ledger: QueueLedger, generation: Generation): Promise<Fault | undefined> {
  const keys = Object.keys(BULLMQ_KEYS).map((name) => ledger.toKey(name));
  try {
    const reply = await generation.script('key-types', [...keys, ...Object.values(BULLMQ_KEYS)]);
    if (!Array.isArray(reply)) return undefined;
    const [key, type, wanted] = reply.map(String) as [string, string, string];
    return {
      key,
      what: `${key} is a ${type} and no ${wanted}`,
      remedy: 'Find out who wrote to that key, and rename or delete it',
    };
  } catch (error) {
    // It cannot be asked so: what recovery asks tells as well.
    if (isOfData(error)) return undefined;
    throw error;
  }
}
