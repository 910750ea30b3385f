/**
 * Signs of life of this process in its queues while Redis answers. The fleet's barrier waits for those
 * who gave one lately, the backoff is paced by their number, and plain BullMQ workers leave stalled
 * jobs to us as long as they come.
 */
import type { Clock } from '../time.ts';
import { commandName } from './fenced-scripts.ts';
import type { Generation } from './generation.ts';
import type { QueueLedger } from './ledger.ts';
import { KEEP_MS } from './retake.ts';

/** One command per queue and 5 s: 0.2/s, within the 2 commands/s that an idle replica may add. */
export const HEARTBEAT_MS = 5000;
/** A member silent for three beats is not waited for. */
export const ALIVE_MS = 3 * HEARTBEAT_MS;

export interface HeartbeatDeps {
  clock: Clock;
  processId: string;
  ledgers(): Iterable<QueueLedger>;
  guardMs(ledger: QueueLedger): number;
  generation(): Generation | undefined;
  onError(error: unknown, generation: Generation): void;
  onMembers(count: number): void;
}

export class Heartbeat {
  readonly #deps: HeartbeatDeps;
  #cancel: (() => void) | undefined;

  constructor(deps: HeartbeatDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#cancel ??= this.#deps.clock.after(HEARTBEAT_MS, () => {
      this.#cancel = undefined;
      void this.#beat().finally(() => this.start());
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  async #beat(): Promise<void> {
    const { generation: present, ledgers, processId, guardMs, onError, onMembers } = this.#deps;
    const generation = present();
    if (!generation) return;
    let members = 0;
    for (const ledger of ledgers()) {
      if (ledger.epoch === undefined) continue;
      try {
        const alive = await generation.adapted.runCommand(commandName('heartbeat'), [
          ledger.key('members'),
          ledger.key(`epoch:${processId}`),
          ledger.toKey('stalled-check'),
          processId,
          KEEP_MS,
          guardMs(ledger),
          ALIVE_MS,
        ]);
        members = Math.max(members, Number(alive));
      } catch (error) {
        onError(error, generation);
        return;
      }
    }
    if (members > 0) onMembers(members);
  }
}
