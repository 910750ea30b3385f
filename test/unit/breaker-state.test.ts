/** The breaker's decisions, and its runner under any order of events: it always comes back. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Breaker, type BreakerOptions } from '../../src/breaker/breaker.ts';
import {
  type BreakerEvent,
  type BreakerState,
  initialState,
  type Trouble,
  transition,
} from '../../src/breaker/state.ts';
import { seededRandom, VirtualClock } from '../simulation/virtual-clock.ts';

const refused: Trouble = { name: 'refused', pace: 'fast' };
const frozen: Trouble = { name: 'frozen', pace: 'fast' };

function stateAfter(...events: BreakerEvent[]): BreakerState {
  return events.reduce((state, event) => transition(state, event).state, initialState);
}

const closed = stateAfter({ type: 'probe-due' }, { type: 'probe-passed' }, { type: 'recovered' });

describe('transition', () => {
  it('closes only when a recovery is done', () => {
    expect(stateAfter({ type: 'probe-due' }, { type: 'probe-passed' }).state).toBe('recovering');
    expect(closed.state).toBe('closed');
  });

  it('ends every connection when it opens, before it plans the way back', () => {
    const { state, effects } = transition(closed, { type: 'failure', trouble: refused });
    expect(state.state).toBe('open');
    expect(effects.map(({ type }) => type)).toEqual(['end-connections', 'schedule-probe']);
  });

  it('counts an outage once, however many sockets tell of it', () => {
    const open = transition(closed, { type: 'failure', trouble: refused }).state;
    expect(transition(open, { type: 'failure', trouble: frozen })).toEqual({
      state: open,
      effects: [],
    });
  });

  it('takes a better name for an outage, moves nothing by it, and keeps what was named otherwise', () => {
    const slow: Trouble = { name: 'slow', pace: 'normal' };
    const open = transition(closed, { type: 'failure', trouble: frozen }).state;
    const renamed = { type: 'renamed', from: 'frozen', trouble: slow } as const;
    expect(transition(open, renamed)).toEqual({ state: { ...open, trouble: slow }, effects: [] });
    const other = transition(closed, { type: 'failure', trouble: refused }).state;
    for (const state of [closed, other]) {
      expect(transition(state, renamed)).toEqual({ state, effects: [] });
    }
  });

  it('starts again with the probe when Redis leaves in the middle of a recovery', () => {
    const recovering = stateAfter({ type: 'probe-due' }, { type: 'probe-passed' });
    const { state, effects } = transition(recovering, { type: 'failure', trouble: refused });
    expect(state).toEqual({ state: 'open', trouble: refused, attempt: 1 });
    expect(effects[0]).toEqual({ type: 'end-connections' });
  });

  it('remembers its tries while it flaps, and forgets them when it stayed closed', () => {
    const flapped = transition(closed, { type: 'failure', trouble: refused }).state;
    expect(flapped).toMatchObject({ state: 'open', attempt: 1 });
    const proven = transition(closed, { type: 'proven' }).state;
    const fresh = transition(proven, { type: 'failure', trouble: refused }).state;
    expect(fresh).toMatchObject({ state: 'open', attempt: 0 });
  });

  it('stays open by an operator’s hand through whatever Redis does, until it is released', () => {
    const isolated = transition(closed, { type: 'isolate', trouble: refused }).state;
    for (const event of [
      { type: 'probe-due' },
      { type: 'recovered' },
      { type: 'probe-failed', trouble: frozen },
      { type: 'recovery-failed', trouble: frozen },
      { type: 'failure', trouble: frozen },
      { type: 'proven' },
    ] satisfies BreakerEvent[]) {
      expect(transition(isolated, event), event.type).toEqual({ state: isolated, effects: [] });
    }
    expect(transition(isolated, { type: 'release' }).state.state).toBe('open');
  });

  it.each<[BreakerEvent, BreakerState]>([
    [{ type: 'probe-passed' }, initialState],
    [{ type: 'probe-passed' }, closed],
    [{ type: 'probe-failed', trouble: refused }, closed],
    [{ type: 'recovered' }, stateAfter({ type: 'probe-due' })],
    [{ type: 'recovery-failed', trouble: refused }, closed],
  ])('takes %o in a state that cannot bring it for a mistake', (event, state) => {
    expect(() => transition(state, event)).toThrow(/while/);
  });
});

/** A Redis that does what it is told, and a breaker in front of it. */
class Rig {
  readonly clock = new VirtualClock();
  readonly breaker: Breaker;
  readonly moves: string[] = [];
  readonly wrong: string[] = [];
  redis: 'up' | 'refusing' | 'silent' = 'up';
  probing = 0;
  connected = false;
  recoveredSinceProbe = false;

  constructor(seed: number, overrides: Partial<BreakerOptions> = {}) {
    this.breaker = new Breaker({
      clock: this.clock,
      random: seededRandom(seed),
      backoff: { baseMs: 50, capMinMs: 250, capMaxMs: 15_000, attemptBudget: 1000 },
      replicas: () => 1,
      probe: (signal) => this.#probe(signal),
      recover: () => this.#recover(),
      troubleOf: () => refused,
      endConnections: () => {
        this.connected = false;
      },
      admit: () => {
        if (!this.recoveredSinceProbe) this.wrong.push('admitted without a recovery');
      },
      onTransition: (from, to) => {
        this.moves.push(to.state);
        if (to.state === 'closed' && from.state !== 'recovering') {
          this.wrong.push(`closed from ${from.state}`);
        }
      },
      ...overrides,
    });
  }

  async #probe(signal: AbortSignal): Promise<void> {
    this.probing += 1;
    signal.addEventListener('abort', () => {
      this.probing -= 1;
    });
    if (this.probing > 1) this.wrong.push('two probes at once');
    this.recoveredSinceProbe = false;
    await this.clock.sleep(this.redis === 'silent' ? 3000 : 5);
    if (!signal.aborted) this.probing -= 1;
    if (this.redis !== 'up') throw new Error(this.redis);
    this.connected = true;
  }

  async #recover(): Promise<void> {
    await this.clock.sleep(20);
    if (this.redis !== 'up' || !this.connected) throw new Error('connection closed');
    this.recoveredSinceProbe = true;
  }
}

type Act = (rig: Rig) => void | Promise<void>;

const anyAct: fc.Arbitrary<[string, Act]> = fc.oneof(
  fc.constantFrom('up', 'refusing', 'silent').map((redis): [string, Act] => [
    `redis ${redis}`,
    (rig) => {
      rig.redis = redis as Rig['redis'];
    },
  ]),
  fc.constant<[string, Act]>(['failure', (rig) => rig.breaker.failure(frozen)]),
  fc.constant<[string, Act]>(['isolate', (rig) => rig.breaker.isolate(refused)]),
  fc.constant<[string, Act]>(['release', (rig) => rig.breaker.release()]),
  fc.constant<[string, Act]>(['start', (rig) => rig.breaker.start()]),
  fc
    .integer({ min: 0, max: 4000 })
    .map((ms): [string, Act] => [`${ms} ms pass`, (rig) => rig.clock.pass(ms)]),
);

describe('Breaker', () => {
  it('keeps its promises under any order of events, and closes when Redis is back', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.array(anyAct, { maxLength: 30 }), async (seed, acts) => {
        const rig = new Rig(seed);
        rig.breaker.start();
        for (const [, act] of acts) {
          await act(rig);
          // Away, somebody is always at work: a timer waits, or a probe or a recovery is under way.
          const { state } = rig.breaker.state;
          if (state !== 'isolated' && state !== 'closed')
            expect(rig.clock.pending, state).toBeGreaterThan(0);
        }
        rig.redis = 'up';
        rig.breaker.release();
        await rig.clock.pass(20_000);
        expect(rig.breaker.state).toEqual({ state: 'closed', attempt: 0 });
        expect(rig.wrong).toEqual([]);
        rig.breaker.stop();
        expect(rig.clock.pending).toBe(0);
      }),
      { numRuns: 100 },
    );
  });

  it('leaves neither timer nor probe when it stops, also twice, also before its start', async () => {
    const rig = new Rig(1);
    rig.breaker.stop();
    rig.breaker.start();
    expect(rig.clock.pending).toBe(0);

    const running = new Rig(2);
    running.redis = 'refusing';
    running.breaker.start();
    await running.clock.pass(1);
    expect(running.probing).toBe(1);
    running.breaker.stop();
    running.breaker.stop();
    expect(running.probing).toBe(0);
    await running.clock.pass(60_000);
    expect(running.moves).toEqual(['half-open']);
  });

  it('says nothing of a recovery that another outage cut off', async () => {
    const rig = new Rig(3);
    rig.breaker.start();
    await rig.clock.pass(10);
    expect(rig.breaker.state.state).toBe('recovering');
    rig.breaker.failure(refused);
    rig.redis = 'refusing';
    await rig.clock.pass(5000);
    expect(rig.moves).not.toContain('closed');
    rig.redis = 'up';
    await rig.clock.pass(1000);
    expect(rig.moves.at(-1)).toBe('closed');
    expect(rig.wrong).toEqual([]);
  });

  it('deals with an event whole before the next, also when its own effects bring one', async () => {
    const moves: string[] = [];
    const rig: Rig = new Rig(4, {
      onTransition: (_from, to) => {
        moves.push(to.state);
        if (to.state === 'recovering') rig.breaker.isolate(refused);
      },
    });
    rig.breaker.start();
    await rig.clock.pass(1000);
    expect(moves).toEqual(['half-open', 'recovering', 'isolated']);
    expect(rig.breaker.state.state).toBe('isolated');
    expect(rig.connected).toBe(false);
  });

  it('does not reconnect in a tight loop when what passes the probe fails at work', async () => {
    let probes = 0;
    const rig: Rig = new Rig(5, {
      probe: async () => {
        probes += 1;
      },
      recover: async () => {},
      admit: () => rig.breaker.failure({ name: 'no-permission', pace: 'slow' }),
    });
    rig.breaker.start();
    await rig.clock.pass(60_000);
    expect(probes).toBeGreaterThan(10);
    expect(probes).toBeLessThan(70);
  });
});
