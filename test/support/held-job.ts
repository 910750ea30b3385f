/** A job as the process that runs it holds it, for tests of what recovery asks about it. */
import type { HeldJob } from '../../src/queue/ledger.ts';

export function heldJob(known: Partial<HeldJob> & Pick<HeldJob, 'id' | 'timestamp'>): HeldJob {
  return {
    token: 't',
    attemptsStarted: 1,
    attemptsMade: 0,
    lockMs: 30_000,
    name: 'job',
    lockedAt: 0,
    takenAt: 0,
    isStarted: true,
    notes: undefined,
    writing: undefined,
    isGone: false,
    schedulerUpdate: undefined,
    stalls: 0,
    alias: undefined,
    isLost: false,
    earlier: undefined,
    ...known,
  };
}
