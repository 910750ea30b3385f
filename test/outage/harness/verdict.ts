/** What a row has shown: counts, times, and everything that is not as it must be. */
import { LINES_PER_MINUTE_MAX } from '../../../src/outage/lines.ts';
import type { RowResult } from './row.ts';
import { runOf } from './run-ledger.ts';
import type { Timeline } from './run-row.ts';
import { happens } from './until.ts';
import type { LogLine, WorkerProcess } from './worker-process.ts';
import { type QueueName, wrongWith } from './workload.ts';
import type { World } from './world.ts';

/** Lines per minute and replica, those of the event loop and others besides. */
const LINES_MAX = 10;
/** A line that was one too many for its minute is said within this time, ms. */
const LATE_LINE_MS = 65_000;
/** Detection and first job, unless the row says otherwise, ms: a busy two-core machine included. */
const DETECT_MS = 3500;
const FIRST_JOB_MS = 1500;
/** Beyond the grace period, ms. */
const EXIT_SLACK_MS = 2000;
/** Problems that are told one by one. */
const TOLD_MAX = 8;
/** Lines of the workers' logs that a broken row shows. */
const LOG_MAX = 16;
/** Characters of such a line. */
const LINE_MAX = 420;

export async function judge(world: World, timeline: Timeline): Promise<RowResult> {
  const { row, program, ledger, workload, allWorkers } = world;
  const expect = row.expect ?? {};
  const problems: string[] = [];
  if (!timeline.finished) problems.push('not all jobs came to an end in time');

  const ended = new Set(
    ledger
      .lines()
      .filter(({ what }) => what === 'end')
      .map(({ id }) => id),
  );
  const mayRepeat = expect.mayRepeat?.(world) ?? new Set();
  const repeatedJobs = new Set(ledger.repeated().map(({ id }) => id));
  const judged = expect.mayLose ? workload.addedAfter : workload.expected;
  const wrong = (
    await Promise.all(
      judged.map((job) =>
        wrongWith(
          workload,
          job,
          // Two runs that may be, or that are counted below, both reported.
          expect.mayLoseNotes === true || repeatedJobs.has(job.id),
        ),
      ),
    )
  ).filter((text) => text !== undefined);
  const lost = judged.filter(({ id, state }) => state === 'completed' && !ended.has(id)).length;
  problems.push(...wrong.slice(0, TOLD_MAX));
  if (wrong.length > TOLD_MAX) problems.push(`… ${wrong.length} jobs are not right`);
  problems.push(...(await countsWrong(world)));
  if (lost > 0) problems.push(`${lost} jobs never ran to their end`);

  const repeated = ledger.repeated().filter((line) => !mayRepeat.has(runOf(line)));
  if (repeated.length > 0) {
    const names = repeated.slice(0, TOLD_MAX).map(({ id, attempt }) => `${id}/${attempt}`);
    problems.push(`${repeated.length} ran twice: ${names.join(' ')}`);
  }
  for (const line of ledger.lines()) {
    const isLate = line.what === 'report-late' && !expect.mayHoldUpReports;
    if (line.what === 'report-threw' || isLate) {
      problems.push(`${line.id}: ${line.what} ${line.detail}`);
    }
  }
  problems.push(...((await row.verify?.(world)) ?? []));

  const opened = world.workers.map((worker) => firstOpened(worker, world.faultAt));
  const opens = opened.filter((line) => line !== undefined);
  if (program === 'holdfast') {
    if (allWorkers.some(isOutOfLines)) await happens(LATE_LINE_MS, () => tellsFirstJob(world));
    problems.push(...linesWrong(world, opened));
  }
  // Of a fault that is there at the start, from a process's first word: starting it is not detection.
  const detected = world.workers.flatMap(({ lines }, i) => {
    const since = row.isAbsentAtStart ? lines[0]!.time : world.faultAt;
    return opened[i] ? [opened[i].time - since] : [];
  });
  const detectMs = detected.length > 0 ? Math.max(...detected) : undefined;
  if (detectMs !== undefined && detectMs > (expect.detectMs ?? DETECT_MS)) {
    problems.push(`seen only after ${detectMs} ms`);
  }
  const first = ledger.starts().find(({ at }) => at >= timeline.answersAt);
  const firstJobMs = first && first.at - timeline.answersAt;
  if (firstJobMs === undefined) problems.push('no job began after the outage');
  else if (firstJobMs > (expect.firstJobMs ?? FIRST_JOB_MS)) {
    problems.push(`the first job began only after ${firstJobMs} ms`);
  }

  problems.push(...(await exits(world)));
  for (const { settings, lines, stray } of allWorkers) {
    for (const { event, err } of lines) {
      if (event === 'unhandledRejection' || event === 'uncaughtException') {
        problems.push(`${settings.workerId}: ${event} ${JSON.stringify(err)}`);
      }
    }
    if (stray !== '') problems.push(`${settings.workerId} printed: ${stray.slice(0, 500)}`);
  }
  return {
    id: row.id,
    program,
    fault: row.fault,
    outageS: row.outageMs / 1000,
    detectMs,
    firstJobMs,
    jobs: workload.expected.length + ticksRun(world),
    lost,
    twice: repeated.length,
    logLines: Math.max(...allWorkers.map((worker) => linesInWorstMinute(worker.outageLines()))),
    conditions: [...new Set(opens.map(({ condition }) => condition ?? '?'))],
    log: problems.length > 0 ? allWorkers.flatMap(toldBy).slice(0, LOG_MAX) : [],
    problems: [...new Set(problems.filter((text) => text !== ''))].slice(0, 3 * TOLD_MAX),
    ...(row.shortened === undefined ? {} : { shortened: row.shortened }),
  };
}

/** Added = completed + failed, and nothing is left anywhere else. */
async function countsWrong({ workload, row }: World): Promise<string[]> {
  const problems: string[] = [];
  for (const name of Object.keys(workload.queues) as QueueName[]) {
    const counts = await workload.queues[name].getJobCounts();
    const { completed = 0, failed = 0, ...others } = counts;
    const left = Object.entries(others).filter(([, count]) => count > 0);
    for (const [state, count] of left) problems.push(`${name}: ${count} jobs stay ${state}`);
    if (name === 'ticks') continue;
    const added = workload.expected.filter(({ queue }) => queue === name).length;
    if (!row.expect?.mayLose && left.length === 0 && completed + failed !== added) {
      problems.push(`${name}: ${added} added, ${completed} completed, ${failed} failed`);
    }
  }
  return problems;
}

function linesWrong(world: World, opened: (LogLine | undefined)[]): string[] {
  const { row, workers, allWorkers } = world;
  const { opens = 'all', conditions, named } = row.expect ?? {};
  const problems: string[] = [];
  const count = opened.filter(Boolean).length;
  if (opens === 'all' && count < workers.length) problems.push(`${count} workers saw the outage`);
  if (opens === 'some' && count === 0) problems.push('no worker saw the outage');
  if (opens === 'none' && count > 0) {
    problems.push(`it opened a breaker: ${opened.map((line) => line?.condition).join(' ')}`);
  }
  for (const line of opened) {
    // Of a connection that ended, before a probe had the time to say why: it names no cause.
    if (line?.condition === 'disconnected') continue;
    if (line && conditions && !conditions.includes(line.condition ?? '')) {
      problems.push(`named ${line.condition}, not ${conditions.join(' or ')}`);
    }
  }
  const closed = workers.flatMap((worker) => worker.lines.filter(isClosed));
  const isTold = count > 0 && !row.expect?.endsUntold;
  if (isTold && closed.length === 0) problems.push('no line told the end of the outage');
  const worksAtOnce = isTold && !row.expect?.mayLose;
  if (worksAtOnce && !tellsFirstJob(world)) {
    problems.push('no line at the end tells when the first job began');
  }
  if (named && !closed.some((line) => names(line).some((name) => named.includes(name)))) {
    problems.push(`the line at the end does not name ${named.join(' or ')}`);
  }
  for (const worker of allWorkers) {
    const lines = linesInWorstMinute(worker.outageLines());
    if (lines > LINES_MAX) {
      problems.push(`${worker.settings.workerId} wrote ${lines} lines in a minute`);
    }
  }
  return problems;
}

async function exits({ row, workers }: World): Promise<string[]> {
  const problems: string[] = [];
  const ends = await Promise.all(
    workers.map((worker) => worker.stop(worker.settings.shutdownGraceMs + 2 * EXIT_SLACK_MS)),
  );
  for (const [i, { code, tookMs }] of ends.entries()) {
    const wanted = row.expect?.exits?.[i] ?? 0;
    if (code !== wanted) problems.push(`worker-${i} exits ${code}, not ${wanted}`);
    if (tookMs > workers[i]!.settings.shutdownGraceMs + EXIT_SLACK_MS) {
      problems.push(`worker-${i} took ${Math.round(tookMs)} ms to exit`);
    }
  }
  return problems;
}

function firstOpened(worker: WorkerProcess, faultAt: number): LogLine | undefined {
  return worker.lines.find(({ event, time }) => event === 'outage.opened' && time >= faultAt);
}

/** Has said all that a minute allows: its last line comes when there is room again. */
function isOutOfLines(worker: WorkerProcess): boolean {
  return linesInWorstMinute(worker.outageLines()) >= LINES_PER_MINUTE_MAX;
}

function tellsFirstJob({ workers }: World): boolean {
  return workers.some(({ lines }) =>
    lines.some((line) => isClosed(line) && typeof line.firstJobMs === 'number'),
  );
}

function toldBy({ settings, lines }: WorkerProcess): string[] {
  return lines
    .filter(({ event }) => event !== undefined && !/^(worker|job|sut)\./.test(event))
    .map(({ msg, level, worker, time, ...fields }) => {
      const at = new Date(time).toISOString().slice(17, 23);
      return `${at} ${settings.workerId} ${JSON.stringify(fields).slice(0, LINE_MAX)}`;
    });
}

function isClosed({ event }: LogLine): boolean {
  return event === 'outage.closed';
}

function names({ conditions }: LogLine): string[] {
  return Array.isArray(conditions) ? conditions.map(String) : [];
}

function linesInWorstMinute(lines: readonly LogLine[]): number {
  return Math.max(
    0,
    ...lines.map(
      ({ time }) =>
        lines.filter((other) => other.time >= time && other.time < time + 60_000).length,
    ),
  );
}

function ticksRun({ ledger }: World): number {
  return new Set(ledger.starts().flatMap(({ queue, id }) => (queue === 'ticks' ? [id] : []))).size;
}
