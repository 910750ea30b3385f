/**
 * The breaker's decisions. Pure: it reads no clock and opens no socket; it is told what happened and
 * says what is to be done.
 *
 *   closed      Redis answers. Entered when a recovery is done, left by a failure.
 *               Timer: when it has stayed closed for a while, the tries before it are forgotten. Until
 *               then a failure goes on counting: what passes the probe and fails at work must not
 *               be reconnected to in a loop.
 *   open        Redis is away. Entered by a failure in closed, or when a probe or a recovery fails.
 *               Timer: the next probe.
 *   half-open   One probe is under way, never two. Entered when the timer fires, left by its verdict.
 *               No timer of its own: the probe's steps have deadlines.
 *   recovering  The probe passed; what is ours is taken back. Nobody is admitted yet. Left when that is
 *               done or fails.
 *   isolated    An operator keeps it open. Left by `release`, to open.
 *
 * Closed is reached through recovering only. Pairs that cannot happen are assertions; what merely comes
 * late (a failure told by a second socket) changes nothing.
 */
import assert from 'node:assert';

/** As much of a condition as a decision needs; the catalogue has the rest. */
export interface Trouble {
  name: string;
  pace: 'fast' | 'normal' | 'slow';
}

export type BreakerState =
  | { state: 'closed'; attempt: number }
  | { state: 'open'; trouble: Trouble; attempt: number }
  | { state: 'half-open'; trouble: Trouble; attempt: number }
  | { state: 'recovering'; trouble: Trouble; attempt: number }
  | { state: 'isolated'; trouble: Trouble };

export type BreakerEvent =
  | { type: 'failure'; trouble: Trouble }
  | { type: 'renamed'; from: string; trouble: Trouble }
  | { type: 'probe-due' }
  | { type: 'probe-passed' }
  | { type: 'probe-failed'; trouble: Trouble }
  | { type: 'recovered' }
  | { type: 'proven' }
  | { type: 'recovery-failed'; trouble: Trouble }
  | { type: 'isolate'; trouble: Trouble }
  | { type: 'release' };

/** What is to be done after a transition, in this order. */
export type BreakerEffect =
  | { type: 'end-connections' }
  /** `isFirst`: not after a failed probe, but because the breaker opened, maybe the whole fleet's. */
  | { type: 'schedule-probe'; attempt: number; pace: Trouble['pace']; isFirst: boolean }
  | { type: 'schedule-proof' }
  | { type: 'cancel-probe' }
  | { type: 'probe' }
  | { type: 'recover' }
  | { type: 'admit' };

export interface Step {
  state: BreakerState;
  effects: BreakerEffect[];
}

/** A process starts as if Redis were away, so that the first connection is a recovery as well. */
export const initialState: BreakerState = {
  state: 'open',
  trouble: { name: 'connecting', pace: 'normal' },
  attempt: 0,
};

export function transition(now: BreakerState, event: BreakerEvent): Step {
  switch (event.type) {
    case 'failure':
      return failure(now, event.trouble);
    case 'renamed':
      return now.state !== 'closed' && now.state !== 'isolated' && now.trouble.name === event.from
        ? { state: { ...now, trouble: event.trouble }, effects: [] }
        : unchanged(now);
    case 'probe-due':
      if (now.state !== 'open') return unchanged(now);
      return {
        state: { ...now, state: 'half-open' },
        effects: [{ type: 'probe' }],
      };
    case 'probe-passed':
      if (now.state === 'isolated') return { state: now, effects: [{ type: 'end-connections' }] };
      assert(now.state === 'half-open', `a probe passed while ${now.state}`);
      return {
        state: { ...now, state: 'recovering' },
        effects: [{ type: 'recover' }],
      };
    case 'probe-failed':
      if (now.state === 'isolated') return unchanged(now);
      assert(now.state === 'half-open', `a probe failed while ${now.state}`);
      return open(event.trouble, now.attempt + 1, { isFirst: false });
    case 'recovered':
      if (now.state === 'isolated' || now.state === 'open') return unchanged(now);
      assert(now.state === 'recovering', `recovered while ${now.state}`);
      return {
        state: { state: 'closed', attempt: now.attempt + 1 },
        effects: [{ type: 'admit' }, { type: 'schedule-proof' }],
      };
    case 'proven':
      if (now.state !== 'closed') return unchanged(now);
      return { state: { state: 'closed', attempt: 0 }, effects: [] };
    case 'recovery-failed':
      if (now.state === 'isolated' || now.state === 'open') return unchanged(now);
      assert(now.state === 'recovering', `a recovery failed while ${now.state}`);
      return broken(event.trouble, now.attempt + 1);
    case 'isolate':
      return {
        state: { state: 'isolated', trouble: event.trouble },
        effects: [{ type: 'cancel-probe' }, { type: 'end-connections' }],
      };
    case 'release':
      if (now.state !== 'isolated') return unchanged(now);
      return open(now.trouble, 0, { isFirst: true });
  }
}

function failure(now: BreakerState, trouble: Trouble): Step {
  switch (now.state) {
    case 'closed':
      return broken(trouble, now.attempt);
    case 'recovering':
      return broken(trouble, now.attempt + 1);
    default:
      // Told again by another socket of the same outage.
      return unchanged(now);
  }
}

/** There were connections; they end, and the way back begins with a probe. */
function broken(trouble: Trouble, attempt: number): Step {
  const { state, effects } = open(trouble, attempt, { isFirst: true });
  return { state, effects: [{ type: 'end-connections' }, ...effects] };
}

function open(trouble: Trouble, attempt: number, { isFirst }: { isFirst: boolean }): Step {
  return {
    state: { state: 'open', trouble, attempt },
    effects: [{ type: 'schedule-probe', attempt, pace: trouble.pace, isFirst }],
  };
}

function unchanged(state: BreakerState): Step {
  return { state, effects: [] };
}
