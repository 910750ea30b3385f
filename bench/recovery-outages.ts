/**
 * Outages, one after the other, of a fleet of two that always has work: time to see one, time to the
 * first job after Redis answers again, throughput afterwards, lines in the log.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Row } from '../test/outage/harness/row.ts';
import { until } from '../test/outage/harness/until.ts';
import type { LogLine, WorkerProcess } from '../test/outage/harness/worker-process.ts';
import { singleStage, World } from '../test/outage/harness/world.ts';
import { type Measured, quantile } from './recovery-report.ts';

const REPLICAS = 2;
/** Between two outages, ms: jobs run again, and the ramp after the last one is over. */
const CALM_MS = 3500;
const DOWN_MS = { killed: 1500, frozen: 4000 } as const;
/** Busy: 20 slots of such jobs never run dry, ms and number. */
const BUSY = { ms: 20, jobs: 25_000, bulk: 2500 };
const PROMISED = { closedMs: 100, silentMs: 3000, firstJobMs: 500, backMs: 5000, lines: 10 };

async function withFleet<T>(play: (world: World) => Promise<T>): Promise<T> {
  const row: Row = { id: '0', fault: '', outageMs: 0, cause: async () => {}, mend: async () => {} };
  const world = new World(row, 'holdfast', await singleStage(row, REPLICAS));
  try {
    await world.admin.ping();
    await world.startWorkers(REPLICAS);
    // A fault before the first connection stands is another one: a step of the probe takes up to 3 s.
    await until('both have connected', 10_000, () =>
      world.workers.every(({ lines }) => lines.some(({ breaker }) => breaker === 'closed')),
    );
    return await play(world);
  } finally {
    await world.stop();
  }
}

async function fill({ workload }: World, jobs: number, ms: number): Promise<void> {
  for (let added = 0; added < jobs; added += BUSY.bulk) {
    const count = Math.min(BUSY.bulk, jobs - added);
    const data = { ms, value: 'busy' };
    await workload.queues.work.addBulk(
      Array.from({ length: count }, () => ({
        name: 'busy',
        data,
        opts: { removeOnComplete: true },
      })),
    );
  }
}

/** The server dies or freezes, and answers again after a while. */
export async function returns(
  fault: 'killed' | 'frozen',
  repetitions: number,
): Promise<Measured[]> {
  const detected: number[] = [];
  const first: number[] = [];
  const perMinute: number[] = [];
  await withFleet(async (world) => {
    const { server, workload, ledger, workers } = world;
    for (let i = 0; i < repetitions; i++) {
      await fill(world, 60, 100);
      await until('jobs run', 10_000, () => ledger.running().length > 0);
      const faultAt = Date.now();
      if (fault === 'killed') await server.kill();
      else server.freeze();
      await sleep(DOWN_MS[fault]);
      if (fault === 'killed') await server.restart();
      else server.thaw();
      const answersAt = Date.now();
      const start = await until('a job begins', 20_000, () =>
        ledger.starts().find(({ at }) => at >= answersAt),
      );
      first.push(start.at - answersAt);
      detected.push(...workers.map((worker) => openedAfter(worker, faultAt) - faultAt));
      await sleep(CALM_MS);
      await workload.queues.work.drain();
    }
    perMinute.push(...workers.map((worker) => linesInWorstMinute(worker.outageLines())));
  });
  const name = fault === 'killed' ? 'server SIGKILLed' : 'server SIGSTOPped';
  const { closedMs, silentMs, firstJobMs, lines } = PROMISED;
  return [
    figure(`${name}: seen, p99`, detected, fault === 'killed' ? closedMs : silentMs),
    figure(`${name}: first job after it answers, p99`, first, firstJobMs),
    { ...figure(`${name}: lines in the worst minute`, perMinute, lines), unit: 'lines' },
  ];
}

/** Established sockets fall silent for good, new ones pass. */
export async function halfOpen(repetitions: number): Promise<Measured[]> {
  const detected: number[] = [];
  await withFleet(async (world) => {
    for (let i = 0; i < repetitions; i++) {
      const faultAt = Date.now();
      for (const proxy of world.proxies) proxy.blackHole({ new: false, forever: true });
      await until('both have seen it', 10_000, () =>
        world.workers.every((worker) => openedAfter(worker, faultAt) < Number.POSITIVE_INFINITY),
      );
      detected.push(...world.workers.map((worker) => openedAfter(worker, faultAt) - faultAt));
      await sleep(CALM_MS);
    }
  });
  return [figure('half-open sockets: seen, p99', detected, PROMISED.silentMs)];
}

/** Until 95 % of what was done before is done again, over a second. */
export async function throughput(): Promise<Measured[]> {
  return await withFleet(async (world) => {
    const { server, ledger } = world;
    await fill(world, BUSY.jobs, BUSY.ms);
    await sleep(6000);
    const faultAt = Date.now();
    await server.kill();
    await sleep(2000);
    await server.restart();
    const answersAt = Date.now();
    await sleep(9000);
    const ends = ledger.lines().flatMap(({ what, at }) => (what === 'end' ? [at] : []));
    const within = (from: number, to: number): number =>
      ends.filter((at) => at >= from && at < to).length / ((to - from) / 1000);
    const before = within(faultAt - 4000, faultAt);
    let backMs = 0;
    while (backMs < 8000 && within(answersAt + backMs, answersAt + backMs + 1000) < 0.95 * before) {
      backMs += 50;
    }
    return [
      {
        what: 'busy queue, server SIGKILLed 2 s: 95 % of the throughput again',
        value: backMs,
        bound: PROMISED.backMs,
        unit: 'ms',
        of: `${Math.round(before)} jobs/s before`,
      },
    ];
  });
}

function openedAfter(worker: WorkerProcess, at: number): number {
  const line = worker.lines.find(({ breaker, time }) => breaker === 'open' && time >= at);
  return line?.time ?? Number.POSITIVE_INFINITY;
}

function linesInWorstMinute(lines: readonly LogLine[]): number {
  const within = ({ time }: LogLine): number =>
    lines.filter((other) => other.time >= time && other.time < time + 60_000).length;
  return Math.max(0, ...lines.map(within));
}

function figure(what: string, values: readonly number[], bound: number): Measured {
  const of = `of ${values.length}, median ${quantile(values, 0.5)}`;
  return { what, value: quantile(values, 0.99), bound, unit: 'ms', of };
}
