/** Rows 11 to 13: what happens to a worker, not to Redis. */
import { CLOCK_BY, setClock } from '../faults/host-clock.ts';
import type { Row } from '../harness/row.ts';
import { type LedgerLine, runOf } from '../harness/run-ledger.ts';
import { until } from '../harness/until.ts';
import type { World } from '../harness/world.ts';

/** Locks and stalled checks for rows that wait for both. */
const SHORT = { lockDurationMs: 5000, stalledIntervalMs: 5000 } as const;
/** For `npm test`, which has minutes for everything. */
const SHORTEST = { lockDurationMs: 2000, stalledIntervalMs: 2000 } as const;
const SHORTENED = 'locks and stalled checks of 5 s for 30 s: the row waits for them to pass';
/** A worker's job that another takes runs for this long, ms; ends after the fault. */
const LONG_MS = [14_000, 16_000, 18_000, 20_000, 22_000];

/** Remembers what runs now in the first worker: whoever takes it over may run it again. */
function rememberRunning(world: World): void {
  const runs = world.ledger.running().filter(({ worker }) => worker === 'worker-0');
  world.memory.set('running', runs);
}

function remembered({ memory }: World): ReadonlySet<string> {
  return new Set(((memory.get('running') ?? []) as LedgerLine[]).map(runOf));
}

function lines(world: World, event: string): number {
  return world.workers.flatMap((worker) => worker.lines).filter((line) => line.event === event)
    .length;
}

/** Runs of one attempt that were under way at the same time. */
function overlaps({ ledger }: World): LedgerLine[] {
  const open = new Map<string, string>();
  return ledger.lines().filter((line) => {
    const run = runOf(line);
    const owner = open.get(run);
    if (line.what === 'start') {
      open.set(run, line.worker);
      return owner !== undefined && owner !== line.worker;
    }
    if (owner === line.worker && ['end', 'fail', 'aborted'].includes(line.what)) open.delete(run);
    return false;
  });
}

function cutOff(id: string, onLeaseLost: 'abort' | 'continue', full: { isFull?: true } = {}): Row {
  const outageMs = full.isFull ? 90_000 : 15_000;
  const common = {
    id,
    fault: `one of two workers alone cut off, onLeaseLost ${onLeaseLost}`,
    outageMs,
    ...full,
    async cause(world: World) {
      rememberRunning(world);
      world.proxies[0]!.blackHole();
    },
    mend: ({ proxies }: World) => proxies[0]!.heal(),
    async verify(world: World) {
      const both = overlaps(world);
      const dropped = lines(world, 'outcome.dropped');
      if (onLeaseLost === 'abort') {
        return both.map(({ id: job }) => `${job} ran in both workers at the same time`);
      }
      return both.length > 0 && dropped === 0 ? ['overlapping runs were not counted'] : [];
    },
    expect: { opens: 'some', mayRepeat: remembered },
  } as const;
  return full.isFull
    ? { ...common, worker: { onLeaseLost } }
    : { ...common, worker: { onLeaseLost, ...SHORT }, shortened: SHORTENED, inFlightMs: LONG_MS };
}

function frozenWorker(id: string, full: { isFull?: true } = {}): Row {
  const common: Row = {
    id,
    fault: 'a worker SIGSTOPped while another takes its jobs',
    outageMs: full.isFull ? 75_000 : 15_000,
    ...full,
    async cause(world) {
      rememberRunning(world);
      world.workers[0]!.signal('SIGSTOP');
    },
    async mend(world) {
      world.workers[0]!.signal('SIGCONT');
    },
    async verify(world) {
      const took = world.ledger.repeated().length;
      if (took === 0) return ['the other worker took nothing'];
      const ends = world.ledger
        .lines()
        .filter(({ what, worker }) => what === 'aborted' && worker === 'worker-0').length;
      return ends + lines(world, 'outcome.dropped') > 0
        ? []
        : ['on wake no run was aborted and no outcome dropped'];
    },
    // Its own sleep is no outage.
    expect: { opens: 'none', mayRepeat: remembered },
  };
  return full.isFull
    ? common
    : { ...common, worker: SHORT, shortened: SHORTENED, inFlightMs: LONG_MS };
}

function clockJump(id: string, hours: number): Row {
  return {
    id,
    fault: `the host's clock jumps by ${hours > 0 ? '+' : ''}${hours} h, and back (${CLOCK_BY})`,
    outageMs: 8000,
    hasOwnClock: true,
    inFlightMs: [1000, 2000, 4000, 6000, 9000],
    async cause(world) {
      setClock(world.dir, hours * 3600);
    },
    async mend(world) {
      setClock(world.dir, 0);
    },
    async verify({ workers }) {
      const jumped = workers.filter(({ lines }) =>
        lines.some(({ time }) => Math.abs(time - Date.now()) > (Math.abs(hours) * 3_600_000) / 2),
      );
      return jumped.length === workers.length ? [] : ['the clock of a worker did not jump'];
    },
    expect: { opens: 'none' },
  };
}

/** The last end is this long ago when a worker is killed, ms. */
const ON_DISK_MS = 400;

/** The server goes, jobs of the first worker end, then that worker is killed. */
async function killWorker(world: World): Promise<void> {
  await world.server.kill();
  await killAfterEnds(world);
}

async function killAfterEnds(world: World): Promise<void> {
  await until('jobs of the first worker have ended', 10_000, () => {
    const ended = world.ledger
      .lines()
      .filter(
        ({ what, worker, at }) => what === 'end' && worker === 'worker-0' && at > world.faultAt,
      );
    // Their outcomes are on disk by then: a commit takes milliseconds.
    return ended.length >= 3 && Date.now() - ended.at(-1)!.at >= ON_DISK_MS;
  });
  rememberRunning(world);
  await world.workers[0]!.kill();
}

const DIES_MS = [1500, 2000, 2500, 12_000, 14_000];

export const workerRows: readonly Row[] = [
  {
    id: '11.1',
    fault: 'a handler blocks the event loop 10 s',
    outageMs: 13_000,
    inFlightMs: [1000, 1500, 16_000],
    brief: {
      outageMs: 5000,
      inFlightMs: [1000, 1500, 7000],
      async cause({ workload }) {
        await workload.blocking(4000);
      },
    },
    async cause({ workload }) {
      await workload.blocking(10_000);
    },
    async mend() {},
    async verify(world) {
      const told = world.workers
        .flatMap((worker) => worker.lines)
        .filter(({ event }) => event === 'event_loop.blocked');
      const names = JSON.stringify(told);
      return names.includes('blocking-') && names.includes('"work"')
        ? []
        : [`no line names the queue and job that blocked the loop: ${names}`];
    },
    expect: { opens: 'none', mayHoldUpReports: true },
  },
  frozenWorker('11.2'),
  frozenWorker('11.3', { isFull: true }),
  clockJump('11.4', 1),
  clockJump('11.5', -1),
  {
    ...cutOff('12.1', 'abort'),
    brief: {
      outageMs: 7000,
      worker: { onLeaseLost: 'abort', ...SHORTEST },
      inFlightMs: [6000, 7000, 8000, 9000],
    },
  },
  cutOff('12.2', 'continue'),
  cutOff('12.3', 'abort', { isFull: true }),
  cutOff('12.4', 'continue', { isFull: true }),
  {
    id: '13.1',
    fault: 'worker SIGKILLed in the outage after its jobs ended, started again',
    outageMs: 8000,
    worker: SHORT,
    shortened: SHORTENED,
    inFlightMs: DIES_MS,
    brief: { outageMs: 4000, worker: SHORTEST, inFlightMs: [1000, 1200, 1400, 6000, 7000] },
    async cause(world) {
      await killWorker(world);
      world.startWorker(0);
    },
    mend: ({ server }) => server.restart(),
    verify: ranAgainOnce,
    // The worker that was started again finds Redis absent, and says so when it starts.
    expect: { opens: 'any', detectMs: 8000, mayRepeat: remembered },
  },
  {
    id: '13.2',
    fault: 'worker SIGKILLed in the outage after its jobs ended, never back',
    outageMs: 8000,
    worker: SHORT,
    shortened: SHORTENED,
    inFlightMs: DIES_MS,
    cause: killWorker,
    mend: ({ server }) => server.restart(),
    verify: ranAgainOnce,
    expect: { opens: 'some', mayRepeat: remembered, exits: ['SIGKILL', 0] },
  },
  {
    id: '13.3',
    fault:
      'worker alone cut off and SIGKILLed after its jobs ended, never back; the other meets no outage',
    outageMs: 8000,
    worker: SHORT,
    shortened: SHORTENED,
    inFlightMs: DIES_MS,
    async cause(world) {
      // Not a silence, in which it would not know for seconds that it is away.
      await world.proxies[0]!.refuse();
      world.proxies[0]!.reset();
      await killAfterEnds(world);
    },
    mend: ({ proxies }) => proxies[0]!.heal(),
    async verify(world) {
      const met = world.workers[1]!.lines.filter(({ event }) => event === 'outage.opened');
      const problems = await ranAgainOnce(world);
      return met.length > 0 ? [...problems, 'the other worker met an outage'] : problems;
    },
    expect: { opens: 'any', endsUntold: true, mayRepeat: remembered, exits: ['SIGKILL', 0] },
  },
];

/** What still ran when the worker died runs again, once. */
async function ranAgainOnce(world: World): Promise<string[]> {
  const starts = new Map<string, number>();
  for (const line of world.ledger.starts()) {
    starts.set(runOf(line), (starts.get(runOf(line)) ?? 0) + 1);
  }
  return [...remembered(world)].flatMap((run) =>
    starts.get(run) === 2 ? [] : [`${run} began ${starts.get(run)} times, not twice`],
  );
}
