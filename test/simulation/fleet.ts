/**
 * A fleet in one process: each replica runs the very breaker and the very pulse of production; clock,
 * random source and Redis are modelled. A Redis here is a timeline of what it does to those who ask.
 */
import { Breaker } from '../../src/breaker/breaker.ts';
import { Pulse } from '../../src/redis/pulse.ts';
import { seededRandom, VirtualClock } from './virtual-clock.ts';

/** What Redis does: answers; refuses and ends connections; keeps silent until its next mode. */
export type Mode = 'up' | 'refusing' | 'frozen';

/** From `at` (ms) on, Redis is in `mode`. */
export interface Phase {
  at: number;
  mode: Mode;
}

export interface FleetOptions {
  seed: number;
  replicas: number;
  timeline: readonly Phase[];
  /** Replicas that the breakers know of; default all. */
  known?: number;
  /** Real pulses; a fleet of thousands does without, and a frozen server is then told to it. */
  isPulsing?: boolean;
}

export interface Replica {
  /** Times of its probes, ms. */
  readonly attempts: number[];
  readonly opened: number[];
  readonly closed: number[];
  readonly state: string;
}

/** One round trip in the model, ms. */
const ROUND_TRIP_MS = 1;
/** Taking back what is ours, ms; jitter on top of it. */
const RECOVERY_MS = 20;
/** As the target does it: a probe's step may take this long, ms. */
const STEP_MS = 3000;
const PULSE_INTERVAL_MS = 750;
const PULSE_TIMEOUT_MS = 2000;

class Away extends Error {
  readonly condition: string;
  constructor(condition: string) {
    super(condition);
    this.condition = condition;
  }
}

class ModelRedis {
  readonly #clock: VirtualClock;
  readonly #sockets = new Set<() => void>();
  readonly #waiting = new Set<() => void>();
  mode: Mode = 'up';

  constructor(clock: VirtualClock, timeline: readonly Phase[]) {
    this.#clock = clock;
    for (const { at, mode } of timeline) clock.after(at, () => this.#enter(mode));
  }

  /** `onEnd` is called when the server ends the connection. */
  connect(onEnd: () => void): () => void {
    this.#sockets.add(onEnd);
    return () => this.#sockets.delete(onEnd);
  }

  /** A request: answered now, refused now, or answered when the server thaws. */
  async ask(): Promise<void> {
    await this.#clock.sleep(ROUND_TRIP_MS);
    if (this.mode === 'frozen') await new Promise<void>((wake) => this.#waiting.add(wake));
    if (this.mode === 'refusing') throw new Away('refused');
  }

  #enter(mode: Mode): void {
    this.mode = mode;
    if (mode === 'refusing') for (const end of [...this.#sockets]) end();
    if (mode === 'frozen') return;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

export class Fleet {
  readonly clock = new VirtualClock();
  readonly redis: ModelRedis;
  readonly replicas: SimulatedReplica[] = [];

  constructor(options: FleetOptions) {
    this.redis = new ModelRedis(this.clock, options.timeline);
    const { seed, replicas, known = replicas, isPulsing = true } = options;
    for (let i = 0; i < replicas; i += 1) {
      this.replicas.push(
        new SimulatedReplica(this.clock, this.redis, seed * 1_000_003 + i, known, isPulsing),
      );
    }
  }

  start(): void {
    for (const replica of this.replicas) replica.start();
  }

  stop(): void {
    for (const replica of this.replicas) replica.stop();
  }

  /** Times of all probes from `from` on, in order, ms. */
  attempts(from = 0): number[] {
    return this.replicas
      .flatMap(({ attempts }) => attempts.filter((at) => at >= from))
      .sort((a, b) => a - b);
  }

  /** Replicas whose breaker is closed. */
  get closed(): number {
    return this.replicas.filter(({ state }) => state === 'closed').length;
  }
}

/** The most events that fall into one window, and where it begins. */
export function busiest(times: readonly number[], windowMs: number): { count: number; at: number } {
  let worst = { count: 0, at: 0 };
  for (let first = 0, last = 0; last < times.length; last += 1) {
    while (times[last]! - times[first]! >= windowMs) first += 1;
    if (last - first + 1 > worst.count) worst = { count: last - first + 1, at: times[first]! };
  }
  return worst;
}

class SimulatedReplica implements Replica {
  readonly attempts: number[] = [];
  readonly opened: number[] = [];
  readonly closed: number[] = [];
  readonly #clock: VirtualClock;
  readonly #redis: ModelRedis;
  readonly #random: () => number;
  readonly #breaker: Breaker;
  readonly #isPulsing: boolean;
  #pulse: Pulse | undefined;
  #disconnect: (() => void) | undefined;
  #underWay = 0;

  constructor(
    clock: VirtualClock,
    redis: ModelRedis,
    seed: number,
    known: number,
    isPulsing: boolean,
  ) {
    this.#clock = clock;
    this.#redis = redis;
    this.#random = seededRandom(seed);
    this.#isPulsing = isPulsing;
    this.#breaker = new Breaker({
      clock,
      random: this.#random,
      backoff: { baseMs: 50, capMinMs: 250, capMaxMs: 15_000, attemptBudget: 1000 },
      replicas: () => known,
      probe: (signal) => this.#probe(signal),
      recover: () => this.#recover(),
      troubleOf: (error) => ({ name: (error as Away).condition, pace: 'fast' }),
      endConnections: () => this.#endConnections(),
      admit: () => this.#admit(),
      onTransition: (from, to) => {
        if (from.state === 'closed') this.opened.push(clock.now());
        if (to.state === 'closed') this.closed.push(clock.now());
      },
    });
  }

  get state(): string {
    return this.#breaker.state.state;
  }

  start(): void {
    this.#breaker.start();
  }

  stop(): void {
    this.#breaker.stop();
    this.#endConnections();
  }

  async #probe(signal: AbortSignal): Promise<void> {
    this.attempts.push(this.#clock.now());
    this.#underWay += 1;
    try {
      if (this.#underWay > 1) throw new Away('two probes at once');
      await this.#orTimeout(this.#redis.ask());
      if (signal.aborted) throw new Away('aborted');
      this.#disconnect = this.#redis.connect(() => this.#fail('refused'));
    } finally {
      this.#underWay -= 1;
    }
  }

  async #recover(): Promise<void> {
    const isConnected = this.#disconnect;
    await this.#clock.sleep(RECOVERY_MS * (1 + this.#random()));
    await this.#orTimeout(this.#redis.ask());
    if (this.#disconnect !== isConnected) throw new Away('refused');
  }

  /** A step's deadline; the answer of a server that thaws before it is welcome. */
  async #orTimeout(answer: Promise<void>): Promise<void> {
    let cancel = (): void => {};
    const silence = new Promise<never>((_resolve, reject) => {
      cancel = this.#clock.after(STEP_MS, () => reject(new Away('frozen')));
    });
    answer.catch(() => undefined);
    try {
      await Promise.race([answer, silence]);
    } finally {
      cancel();
    }
  }

  #admit(): void {
    if (!this.#isPulsing) return;
    const pulse = new Pulse({
      heardAt: () => Number.NEGATIVE_INFINITY,
      clock: this.#clock,
      intervalMs: () => PULSE_INTERVAL_MS,
      timeoutMs: PULSE_TIMEOUT_MS,
      ask: async () => {
        await this.#redis.ask();
        return this.#clock.wall();
      },
      onAnswer: () => undefined,
      onMissed: () => this.#fail('frozen'),
      onError: () => this.#fail('refused'),
      onLoopBlocked: () => this.#fail('event-loop-blocked'),
    });
    this.#pulse = pulse;
    pulse.start();
  }

  #fail(condition: string): void {
    this.#breaker.failure({ name: condition, pace: 'fast' });
  }

  #endConnections(): void {
    this.#pulse?.stop();
    this.#pulse = undefined;
    this.#disconnect?.();
    this.#disconnect = undefined;
  }
}
