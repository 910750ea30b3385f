/**
 * The queues themselves: the oldest waiting job, jobs that are active without a lock, locks without a
 * job, failures, and versions of BullMQ that are known to stop. Only reads; bounded in queues and jobs.
 */
import { createRequire } from 'node:module';
import { readFleet } from '../queue/fleet-view.ts';
import { countText, durationText } from './amounts.ts';
import { fail, type Judged, pass, skip, warn } from './finding.ts';
import type { Link } from './link.ts';
import { lockNames, lookAt, type QueueSeen, queueNames } from './queue-look.ts';
import type { Check } from './scene.ts';
import { isOlder } from './server.ts';

/** Longer than that a job waits only when nobody takes it or too few do, ms. */
const WAIT_MS = 600_000;
/** Failures of the last hour below this are everyday life. */
const FAILED_MIN = 5;
const FAILED_SHARE = 0.1;
/** BullMQ 6 before this falls silent after an outage: taskforcesh/bullmq#4585. */
const SILENT_FROM = '6.0.0';
const SILENT_UNTIL = '6.3.3';
/** BullMQ 5 before this falls silent when all Sentinels were away: taskforcesh/bullmq#4378. */
const SENTINEL_SILENT_FROM = '5.0.0';
const SENTINEL_SILENT_UNTIL = '5.81.3';

export const bullmq: Check = {
  name: 'bullmq',
  label: 'Queues',
  layer: 'redis',
  deadlineMs: 15_000,
  run: async ({ link, target, clock, isDeep, loaded }, signal) => {
    if (link === undefined || target === undefined) return [];
    const { prefix } = target.redis;
    const findings = judgeLibrary(installedVersion(), 'installed here');
    const consumers = await link.ask('the fleet', readFleet(link.client, prefix)).catch(() => []);
    const known = [
      ...loaded.config.queues,
      ...consumers.flatMap(({ queues }) => queues.map(({ queue }) => queue)),
    ];
    const { names, isComplete, isListed } = await queueNames(link, prefix, known, isDeep);
    const seen: QueueSeen[] = [];
    for (const name of names) {
      if (signal.aborted) break;
      seen.push(await lookAt(link, prefix, name, clock.wall()));
    }
    const orphaned = isListed ? await orphanedLocks(link, prefix, seen, isDeep) : [];
    const consumed = new Set(
      consumers.flatMap(({ queues }) =>
        queues.filter(({ isConsuming }) => isConsuming).map(({ queue }) => queue),
      ),
    );
    findings.push(
      ...judgeQueues(seen, consumed, loaded.config.stalledIntervalMs),
      ...judgeLocks(orphaned),
    );
    if (!isListed) {
      findings.push(
        skip(
          'Only queues of QUEUES and of living replicas: listing keys (SCAN) is not allowed here',
          names.length === 0 ? 'none is known' : names.join(', '),
        ),
      );
    }
    if (!isComplete) {
      findings.push(
        warn(
          'Not all queues were looked at',
          `${countText(seen.length, 'queue')} in the time there was`,
          'Run holdfast doctor --deep.',
        ),
      );
    }
    return findings;
  },
};

/** Pure: each queue, and one line for all that are well. */
export function judgeQueues(
  queues: readonly QueueSeen[],
  consumed: ReadonlySet<string>,
  stalledIntervalMs: number,
): Judged[] {
  const findings = queues.flatMap((queue) => [
    ...judgeWaiting(queue, consumed.has(queue.name)),
    ...judgeActive(queue, stalledIntervalMs),
    ...judgeFailures(queue),
    ...judgeLibrary(queue.version, `of who wrote the queue ${queue.name} last`),
  ]);
  const sum = (of: (queue: QueueSeen) => number): string =>
    queues.reduce((total, queue) => total + of(queue), 0).toLocaleString('en');
  const waiting = sum((q) => q.waiting);
  const totals = `${waiting} ${waiting === '1' ? 'waits' : 'wait'}, ${sum((q) => q.active)} active, ${sum((q) => q.delayed)} delayed, ${sum((q) => q.failed)} failed`;
  const well = findings.length === 0 ? ', nothing is stuck' : '';
  return [pass(`${countText(queues.length, 'queue')}${well}`, totals), ...findings];
}

function judgeWaiting(queue: QueueSeen, isConsumed: boolean): Judged[] {
  const { name, oldestWaitMs, isPaused, waiting } = queue;
  if (oldestWaitMs === undefined || oldestWaitMs < WAIT_MS) return [];
  const title = `${name}: the oldest job has waited for ${durationText(oldestWaitMs)}`;
  const evidence = `${countText(waiting, 'job')} ${waiting === 1 ? 'waits' : 'wait'}`;
  if (isPaused) {
    return [
      warn(title, `${evidence}; the queue is paused`, `If that is over: holdfast resume ${name}`),
    ];
  }
  return isConsumed
    ? [
        warn(
          title,
          `${evidence}; replicas take jobs of this queue`,
          'Start more replicas or raise CONCURRENCY, if the service behind the jobs can take it.',
        ),
      ]
    : [
        warn(
          title,
          `${evidence}; no replica of Holdfast takes jobs of this queue`,
          `Start a service whose WORKERS_DIR has a handler of ${name}, or its plain BullMQ worker.`,
        ),
      ];
}

function judgeActive(
  { name, active, unlocked, stalledOut }: QueueSeen,
  stalledMs: number,
): Judged[] {
  const findings: Judged[] = [];
  if (unlocked.length > 0) {
    findings.push(
      warn(
        `${name}: ${countText(unlocked.length, 'job')} active without a lock: the worker has died`,
        `of ${active} active: ${unlocked.slice(0, 3).join(', ')}${unlocked.length > 3 ? ' …' : ''}`,
        `A living worker of ${name} puts them back within ${durationText(2 * stalledMs)}; if none lives, start one.`,
      ),
    );
  }
  if (stalledOut > 0) {
    findings.push(
      warn(
        `${name}: ${countText(stalledOut, 'job')} failed for having stalled too often`,
        'among the last 50 failed ones: their worker died each time, or its event loop was blocked',
        `Look for out-of-memory kills and computation in the handler; then: holdfast retry ${name} --all`,
      ),
    );
  }
  return findings;
}

function judgeFailures({ name, failedLastHour, completedLastHour }: QueueSeen): Judged[] {
  const share = failedLastHour / Math.max(1, failedLastHour + completedLastHour);
  if (failedLastHour < FAILED_MIN || share < FAILED_SHARE) return [];
  return [
    warn(
      `${name}: ${countText(failedLastHour, 'job')} failed in the last hour`,
      `${completedLastHour.toLocaleString('en')} completed ones of that time are kept`,
      `See why: holdfast failed ${name}; when the reason is gone: holdfast retry ${name} --all`,
    ),
  ];
}

/** Pure. `version` as BullMQ writes it: `bullmq:6.7.0`. */
export function judgeLibrary(version: string | undefined, whose: string): Judged[] {
  const number = /^(?:bullmq:)?(\d+\.\d+\.\d+)/.exec(version ?? '')?.[1];
  if (number === undefined) return [];
  const isIn = (from: string, until: string) => !isOlder(number, from) && isOlder(number, until);
  if (isIn(SENTINEL_SILENT_FROM, SENTINEL_SILENT_UNTIL)) {
    return [
      warn(
        `BullMQ ${number} may stop taking jobs for ever when the Sentinels were away`,
        `the version ${whose}; taskforcesh/bullmq#4378`,
        `With Sentinel, upgrade bullmq to ${SENTINEL_SILENT_UNTIL} or to ${SILENT_UNTIL}, or later, in every plain worker.`,
      ),
    ];
  }
  if (!isIn(SILENT_FROM, SILENT_UNTIL)) return [];
  return [
    fail(
      `BullMQ ${number} may stop taking jobs for ever after an outage`,
      `the version ${whose}; taskforcesh/bullmq#4585`,
      `Upgrade bullmq to ${SILENT_UNTIL} or later, there and in every plain worker.`,
    ),
  ];
}

function judgeLocks(orphaned: readonly { key: string; ttlMs: number }[]): Judged[] {
  if (orphaned.length === 0) return [];
  const [first] = orphaned;
  const lasting = orphaned.filter(({ ttlMs }) => ttlMs === -1);
  return [
    warn(
      `${countText(orphaned.length, 'lock')} of jobs that are not active`,
      `${first!.key}${orphaned.length > 1 ? ' …' : ''}, ${lasting.length} of them without an end`,
      lasting.length > 0
        ? 'Delete those without an end (DEL); the others end by themselves.'
        : 'Nothing now: they end by themselves. If they come again and again, look for workers of mixed versions.',
    ),
  ];
}

async function orphanedLocks(
  link: Link,
  prefix: string,
  queues: readonly QueueSeen[],
  isDeep: boolean,
): Promise<{ key: string; ttlMs: number }[]> {
  const found: { key: string; ttlMs: number }[] = [];
  for (const { key, queue, id } of await lockNames(link, prefix, queues, isDeep)) {
    const where = await link.ask('LPOS', link.client.lpos(`${prefix}:${queue}:active`, id));
    const ttlMs = where === null ? await link.ask('PTTL', link.client.pttl(key)) : -2;
    // -2: gone meanwhile, as it should be.
    if (ttlMs !== -2) found.push({ key, ttlMs });
  }
  return found;
}

function installedVersion(): string | undefined {
  try {
    const { version } = createRequire(import.meta.url)('bullmq/package.json') as {
      version: string;
    };
    return version;
  } catch {
    return undefined;
  }
}
