/** Plays one row from start to end and says what was seen. */
import { setTimeout as sleep } from 'node:timers/promises';
import { clusterStage } from '../topology/cluster.ts';
import { sentinelStage } from '../topology/sentinel.ts';
import type { Row, RowResult } from './row.ts';
import { happens, until } from './until.ts';
import { judge } from './verdict.ts';
import type { Program } from './worker-process.ts';
import { QUEUES, TICK_MS } from './workload.ts';
import { singleStage, World } from './world.ts';

const WORKERS = 2;
/** Jobs that run before the fault, so that both workers have settled some, ms and number. */
const WARM_UP = { jobs: 6, ms: 50 };
const START_MS = 20_000;
/** Every job has come to its end this long after Redis is back, ms; plain BullMQ needs two checks. */
const FINISH_MS = 40_000;

/** When what happened, ms since the epoch. */
export interface Timeline {
  answersAt: number;
  finished: boolean;
}

export async function runRow(row: Row, program: Program): Promise<RowResult> {
  const open = { single: singleStage, sentinel: sentinelStage, cluster: clusterStage };
  const stage = await open[row.topology ?? 'single'](row, WORKERS);
  const world = new World(row, program, stage);
  try {
    return await play(world);
  } finally {
    await world.stop();
  }
}

async function play(world: World): Promise<RowResult> {
  const { row, workload, ledger } = world;
  // Connected before the fault, and then past all that the row does to connections.
  await world.admin.ping();
  if (!row.isAbsentAtStart) await before(world);
  world.faultAt = Date.now();
  await row.cause(world);
  if (row.isAbsentAtStart) await start(world);
  await sleep(Math.max(0, row.outageMs - (Date.now() - world.faultAt)));
  await row.mend(world);
  const answersAt = Date.now();
  await workload.after();
  const finished = await happens(finishWithin(world), () => isFinished(world));
  // The schedule goes on: one more tick is on its way or has run.
  const ticksOn = await happens(5000, () =>
    ledger.starts().some(({ queue, at }) => queue === 'ticks' && at > answersAt),
  );
  const schedule = ticksOn ? '' : await workload.describeSchedule();
  await workload.endSchedule();
  await happens(5000, async () => {
    return ledger.running().length === 0 && (await workload.queues.ticks.getActiveCount()) === 0;
  });
  const result = await judge(world, { answersAt, finished });
  if (!ticksOn && !row.expect?.mayLose) {
    result.problems.push(`the schedule did not go on: ${schedule}`);
  }
  return result;
}

/** Everything waits, nothing was ever taken. */
async function start(world: World): Promise<void> {
  await world.workload.startSchedule(TICK_MS);
  await world.workload.waiting(world.row.outageMs);
  await world.startWorkers(WORKERS);
}

async function before(world: World): Promise<void> {
  const { row, workload, ledger } = world;
  await world.startWorkers(row.hasIdleWorker ? 1 : WORKERS);
  for (let i = 0; i < WARM_UP.jobs; i++) await workload.plain(WARM_UP.ms);
  await workload.startSchedule(TICK_MS);
  await until('the first jobs run', START_MS, () => ended(world) >= WARM_UP.jobs);
  await workload.inFlight(row.inFlightMs ?? lengths(row.outageMs));
  const slots = row.hasIdleWorker ? QUEUES.work : WORKERS * QUEUES.work;
  // A slow machine may see the shortest end before the last has begun.
  await until(`${slots} jobs are in flight`, START_MS, () => {
    const begun = ledger.starts().filter(({ queue }) => queue === 'work');
    return new Set(begun.map(({ id }) => id)).size >= WARM_UP.jobs + slots;
  });
  await workload.waiting(row.outageMs);
  if (row.hasIdleWorker) await world.startWorker(1).started();
}

/** Most of those in flight end while Redis is away, some shortly after. */
function lengths(outageMs: number): number[] {
  const within = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].map((part) => part * outageMs + 500);
  const beyond = [1000, 1500, 2500].map((more) => outageMs + more);
  return [...within, ...beyond].map(Math.round);
}

function ended(world: World): number {
  return world.ledger.lines().filter(({ queue, what }) => queue === 'work' && what === 'end')
    .length;
}

/** All jobs are in an end state in Redis; those that it still knows, when it lost its data. */
async function isFinished({ workload, row }: World): Promise<boolean> {
  const expected = { work: 0, parents: 0 };
  const jobs = row.expect?.mayLose ? workload.addedAfter : workload.expected;
  for (const { queue } of jobs) if (queue !== 'ticks') expected[queue] += 1;
  for (const queue of ['work', 'parents'] as const) {
    const { completed = 0, failed = 0 } = await workload.queues[queue].getJobCounts(
      'completed',
      'failed',
    );
    if (completed + failed < expected[queue]) return false;
  }
  return true;
}

function finishWithin({ row, program, workers }: World): number {
  const { lockDurationMs, stalledIntervalMs } = workers[0]!.settings;
  const stalledMs =
    program === 'plain' || row.expect?.mayRepeat ? lockDurationMs + 2 * stalledIntervalMs : 0;
  // Jobs in flight that fail at first run for as long again.
  const longestMs = Math.max(...(row.inFlightMs ?? lengths(row.outageMs)));
  return FINISH_MS + stalledMs + longestMs;
}
