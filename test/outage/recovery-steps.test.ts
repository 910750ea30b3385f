/**
 * Recovery struck again, at any of its steps: fast-check chooses the first fault, and after how many
 * commands of the replica that comes back the next one strikes, and how. Two replicas recover at once.
 * Nothing may be lost and nothing may run twice, whatever it chooses.
 *
 * The seed is in the message of a failure; `OUTAGE_SEED=n` plays it again. `--full` plays more.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Job, Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import { type ExpectStatic, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget, type TestTarget } from '../support/target.ts';

const isFull = process.env.OUTAGE_FULL === '1';
const SEED = Number(process.env.OUTAGE_SEED ?? Date.now() % 1_000_000);
/** Each takes about six seconds; a property is three of them at a time. */
const RUNS = isFull ? 20 : 4;
const SIDE_BY_SIDE = [0, 1, 2];
/** Short enough for an outage to outlive them. */
const TIMES = { lockDuration: 2000, stalledInterval: 1000 };
const QUICK = { pulseIntervalMs: 150, pulseTimeoutMs: 600 };
const SLOTS = 6;
const FINISH_MS = 40_000;
/** A recovery that sends no more commands than this has not been struck: the wire is taken away, ms. */
const STRIKE_WITHIN_MS = 3000;

const KINDS = ['kill', 'cut', 'freeze', 'hole', 'mute'] as const;
type Kind = (typeof KINDS)[number];

interface Strike {
  kind: Kind;
  ms: number;
  /** Of which replica's commands. */
  replica: 0 | 1;
  commands: number;
  isWithin: boolean;
}

interface Scenario {
  first: { kind: Kind; ms: number };
  strikes: Strike[];
  /** How long the jobs in flight run, ms. */
  jobsMs: number[];
}

const kind = fc.constantFrom(...KINDS);
const scenario: fc.Arbitrary<Scenario> = fc.record({
  first: fc.record({ kind, ms: fc.integer({ min: 50, max: 3500 }) }),
  strikes: fc.array(
    fc.record({
      kind,
      ms: fc.integer({ min: 0, max: 2500 }),
      replica: fc.constantFrom<0 | 1>(0, 1),
      commands: fc.nat(30),
      isWithin: fc.boolean(),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  jobsMs: fc.array(fc.integer({ min: 50, max: 6000 }), { minLength: 14, maxLength: 14 }),
});

class Stage {
  readonly server: RedisServer;
  readonly proxies: [TcpProxy, TcpProxy];

  constructor(server: RedisServer, proxies: [TcpProxy, TcpProxy]) {
    this.server = server;
    this.proxies = proxies;
  }

  /** The server's fate, one thing after another: a strike may come before a restart is done. */
  #turn: Promise<void> = Promise.resolve();

  #next(act: () => void | Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(act);
    return this.#turn;
  }

  /** Begins at once: what was sent before may have arrived, nothing else does. */
  strike(kind: Kind): void {
    if (kind === 'kill') void this.#next(() => this.server.kill());
    if (kind === 'freeze') void this.#next(() => this.server.freeze());
    for (const proxy of this.proxies) {
      if (kind === 'hole') proxy.blackHole();
      if (kind === 'mute') proxy.dropReplies();
      if (kind !== 'cut') continue;
      proxy.cut();
    }
  }

  async mend(kind: Kind): Promise<void> {
    if (kind === 'kill') await this.#next(() => this.server.restart());
    if (kind === 'freeze') await this.#next(() => this.server.thaw());
    await Promise.all(this.proxies.map((proxy) => proxy.heal()));
  }
}

interface Run {
  id: string;
  attempt: number;
  replica: number;
}

function startWorker(target: TestTarget, replica: number, runs: Run[]): Worker {
  const worker = new Worker(
    'steps',
    async (job: Job<{ ms: number; fails: number }>) => {
      runs.push({ id: job.id!, attempt: job.attemptsMade, replica });
      await job.updateProgress(50);
      await sleep(job.data.ms);
      if (job.attemptsMade < job.data.fails) throw new Error('as it was told to');
      return job.id;
    },
    { connection: target.connection, concurrency: SLOTS, ...TIMES },
    target.backendFactory,
  );
  worker.on('error', () => undefined);
  return worker;
}

async function play({ first, strikes, jobsMs }: Scenario, expect: ExpectStatic): Promise<void> {
  const server = await startRedis({ aof: 'always' });
  const proxies: [TcpProxy, TcpProxy] = [
    await startProxy(server.port),
    await startProxy(server.port),
  ];
  const stage = new Stage(server, proxies);
  const targets = await Promise.all(
    proxies.map((proxy) => startTarget(proxy.url, { resilience: QUICK })),
  );
  const runs: Run[] = [];
  const workers = targets.map((target, replica) => startWorker(target, replica, runs));
  const queue = new Queue('steps', { connection: { host: server.host, port: server.port } });
  queue.on('error', () => undefined);
  const expected = new Map<string, number>();
  const add = async (n: number, ms: number): Promise<void> => {
    const fails = n % 4 === 0 ? 1 : 0;
    expected.set(`job-${n}`, fails + 1);
    const opts = { jobId: `job-${n}`, attempts: 2, backoff: 50 };
    await queue.add('job', { ms, fails }, opts);
  };
  try {
    for (const [n, ms] of jobsMs.entries()) await add(n, ms);
    await expect.poll(() => runs.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(2 * SLOTS);

    stage.strike(first.kind);
    await sleep(first.ms);
    let present = first.kind;
    for (const next of strikes) {
      const struck = Promise.withResolvers<void>();
      proxies[next.replica].afterCommands(next.commands, next.isWithin, () => {
        stage.strike(next.kind);
        struck.resolve();
      });
      await stage.mend(present);
      await Promise.race([struck.promise, sleep(STRIKE_WITHIN_MS)]);
      proxies[next.replica].afterCommands(Number.MAX_SAFE_INTEGER, false, () => undefined);
      await sleep(next.ms);
      present = next.kind;
    }
    await stage.mend(present);
    for (let n = 100; n < 104; n++) await add(n, 50);

    await expect
      .poll(async () => await queue.getCompletedCount(), { timeout: FINISH_MS, interval: 100 })
      .toBe(expected.size);
    expect(await queue.getJobCounts('active', 'waiting', 'delayed', 'failed')).toEqual({
      active: 0,
      waiting: 0,
      delayed: 0,
      failed: 0,
    });
    for (const job of await queue.getCompleted()) {
      expect({ id: job.id, value: job.returnvalue, attempts: job.attemptsMade }).toEqual({
        id: job.id,
        value: job.id,
        attempts: expected.get(job.id!),
      });
    }
    const seen = runs.map(({ id, attempt }) => `${id}/${attempt}`).sort();
    const wanted = [...expected].flatMap(([id, count]) =>
      Array.from({ length: count }, (_, attempt) => `${id}/${attempt}`),
    );
    expect(seen).toEqual(wanted.sort());
  } finally {
    await Promise.all(workers.map((worker) => worker.close(true)));
    await Promise.all(targets.map((target) => target.stop(systemClock.now() + 1000)));
    await queue.close().catch(() => undefined);
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    await server.stop();
  }
}

it.concurrent.for(SIDE_BY_SIDE)(
  'loses nothing and runs nothing twice when recovery is struck again at any step, %i',
  { timeout: RUNS * (FINISH_MS + 20_000) },
  async (n, { expect }) => {
    await fc.assert(
      fc.asyncProperty(scenario, (one) => play(one, expect)),
      { seed: SEED + n, numRuns: RUNS, endOnFailure: true },
    );
  },
);
