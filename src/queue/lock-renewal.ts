/**
 * Renews the locks that BullMQ leaves. It asks the wall clock whether a lock is due, so that none is while
 * a host's clock has gone back, and it knows one run per job id, so that the end of an older run ends the
 * renewal of a newer one. Here the monotonic clock counts, and every run that is in flight.
 *
 * In calm weather BullMQ has renewed each lock before it is due here, and nothing is sent. In a queue that is
 * set aside also the locks of what has ended here are kept, until Redis can be told.
 */
import { pack } from 'msgpackr';
import type { Clock, Instant } from '../time.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';
import { LockKeeper } from './lock-keeper.ts';
import { Sender } from './sender.ts';
import type { TargetCore } from './target-core.ts';

/** BullMQ renews at half of a lock's life; one that is older than this part of it was left. */
const DUE_SHARE = 0.6;
/** Locks are looked at this often in the life of the shortest … */
const LOOKS = 8;
/** … and not more or less often than this, ms. */
const LOOK_MS_MIN = 50;
const LOOK_MS_MAX = 2500;

export class LockRenewal {
  readonly #clock: Clock;
  readonly #core: TargetCore;
  readonly #ledgers: () => Iterable<QueueLedger>;
  readonly #underWay = new WeakSet<QueueLedger>();
  #cancel: (() => void) | undefined;

  constructor(core: TargetCore, ledgers: () => Iterable<QueueLedger>) {
    this.#clock = core.clock;
    this.#core = core;
    this.#ledgers = ledgers;
  }

  /** From the first worker on, at the pace of the shortest lock. */
  watch(): void {
    this.stop();
    let lookMs = LOOK_MS_MAX;
    for (const { lockMs } of this.#ledgers()) lookMs = Math.min(lookMs, lockMs / LOOKS);
    this.#cancel = this.#clock.after(Math.max(lookMs, LOOK_MS_MIN), () => {
      this.#look();
      this.watch();
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #look(): void {
    if (!this.#core.generation()) return;
    const now = this.#clock.now();
    for (const ledger of this.#ledgers()) {
      if (this.#underWay.has(ledger)) continue;
      const due = lockedIn(ledger).filter((job) => isDue(job, now));
      if (due.length > 0) void this.#renew(ledger, due);
    }
  }

  async #renew(ledger: QueueLedger, jobs: readonly HeldJob[]): Promise<void> {
    const sender = new Sender(this.#core, ledger);
    const keeper = new LockKeeper(this.#core, ledger, sender);
    const ids = jobs.map(({ id }) => id);
    const tokens = jobs.map(({ token }) => token);
    const args = [
      ledger.toKey('stalled'),
      ledger.toKey(''),
      pack(tokens),
      pack(ids),
      ledger.lockMs,
    ];
    this.#underWay.add(ledger);
    try {
      await keeper.renew(ids, () => sender.run('extendLocks', args) as Promise<unknown[]>);
    } catch {
      // What Redis refuses here is told where BullMQ asks for it; the next look tries again.
    } finally {
      this.#underWay.delete(ledger);
    }
  }
}

/** The jobs whose locks are ours to keep. */
function lockedIn({ held, unsettled, aside }: QueueLedger): HeldJob[] {
  if (!aside) return held.size === 0 ? [] : [...held.values()];
  return [...held.values(), ...[...unsettled.values()].map(({ job }) => job)];
}

/** A job without a run is nobody's to keep, and one that runs from the journal has no lock yet. */
function isDue(job: HeldJob, now: Instant): boolean {
  if (!job.isStarted || job.isLost || job.isGone || job.processedOn !== undefined) return false;
  return now - job.lockedAt > job.lockMs * DUE_SHARE;
}
