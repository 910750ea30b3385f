/**
 * The limits of the container or unit that this runs in: memory and CPU of its cgroup (version 2, and 1
 * where that is left), kills for lack of memory, and whether Node knows of the limit.
 */
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';
import { bytesText, countText, percentText } from './amounts.ts';
import { type Judged, pass, skip, warn } from './finding.ts';
import { numberOf } from './info.ts';
import type { Check } from './scene.ts';

const FULL = 0.85;
/** Between two looks at what is counted, ms. */
const AGAIN_MS = 1000;
/** Below this a service with a few handlers does not fit, bytes. */
const MEMORY_MIN = 192 * 1024 * 1024;
/** Version 1 writes "no limit" as a number near the largest. */
const NO_LIMIT = 2 ** 60;
/** A container that stands still for so much of its time is short of CPU. */
const THROTTLED_SHARE = 0.1;

export interface Limits {
  /** Bytes; undefined without a limit. */
  memoryMax: number | undefined;
  memoryUsed: number | undefined;
  /** Processes of the cgroup that were killed for lack of memory. */
  oomKills: number;
  /** CPUs; undefined without a limit. */
  cpus: number | undefined;
  /** Periods that were cut short, of all periods. */
  throttledShare: number;
}

export const container: Check = {
  name: 'container',
  label: 'Container',
  layer: 'local',
  deadlineMs: 4000,
  run: async ({ root }, signal) => {
    const before = await readLimits(root);
    if (before === undefined) return [skip('No cgroup on this system')];
    // Kills of long ago stay in the count: only those that go on are worth a word.
    if (before.oomKills > 0) await sleep(AGAIN_MS, undefined, { signal });
    const limits = (before.oomKills > 0 ? await readLimits(root) : undefined) ?? before;
    const heapMax = getHeapStatistics().heap_size_limit;
    const killedNow = limits.oomKills - before.oomKills;
    return judgeLimits(limits, heapMax, availableParallelism(), killedNow);
  },
};

/** The limits of this process' cgroup below `root`; undefined where there are none. */
export async function readLimits(root: string): Promise<Limits | undefined> {
  const base = join(root, 'sys/fs/cgroup');
  const own = (await text(join(root, 'proc/self/cgroup')))?.match(/^0::(\/.*)$/m)?.[1] ?? '/';
  // In a container the path is that of its own name space, and often only the root is there.
  for (const folder of [join(base, own), base]) {
    const max = await text(join(folder, 'memory.max'));
    if (max === undefined) continue;
    const [quota, period] = ((await text(join(folder, 'cpu.max'))) ?? 'max 100000').split(' ');
    const stat = fields(await text(join(folder, 'cpu.stat')));
    return {
      memoryMax: max === 'max' ? undefined : Number(max),
      memoryUsed: asNumber(await text(join(folder, 'memory.current'))),
      oomKills: numberOf(fields(await text(join(folder, 'memory.events'))), 'oom_kill') ?? 0,
      cpus: quota === 'max' ? undefined : Number(quota) / Number(period),
      throttledShare: shareOf(stat),
    };
  }
  const max = asNumber(await text(join(base, 'memory/memory.limit_in_bytes')));
  if (max === undefined) return undefined;
  const quota = asNumber(await text(join(base, 'cpu/cpu.cfs_quota_us'))) ?? -1;
  const period = asNumber(await text(join(base, 'cpu/cpu.cfs_period_us'))) ?? 100_000;
  return {
    memoryMax: max >= NO_LIMIT ? undefined : max,
    memoryUsed: asNumber(await text(join(base, 'memory/memory.usage_in_bytes'))),
    oomKills:
      numberOf(fields(await text(join(base, 'memory/memory.oom_control'))), 'oom_kill') ?? 0,
    cpus: quota <= 0 ? undefined : quota / period,
    throttledShare: shareOf(fields(await text(join(base, 'cpu/cpu.stat')))),
  };
}

/**
 * Pure. `heapMax`: how far this Node lets its heap grow, bytes. `killedNow`: processes that were killed for
 * lack of memory between two samples.
 */
export function judgeLimits(
  limits: Limits,
  heapMax: number,
  cores: number,
  killedNow: number,
): Judged[] {
  const { memoryMax, memoryUsed, oomKills, cpus, throttledShare } = limits;
  const findings: Judged[] = [];
  const used = memoryUsed === undefined ? '' : `${bytesText(memoryUsed)} of `;
  if (killedNow > 0) {
    findings.push(
      warn(
        `Processes of this container were killed for lack of memory: ${killedNow} just now`,
        memoryMax === undefined
          ? 'oom_kill'
          : `oom_kill ${oomKills}, limit ${bytesText(memoryMax)}`,
        'Raise the memory limit, or lower CONCURRENCY.',
      ),
    );
  }
  if (memoryMax !== undefined && memoryUsed !== undefined && memoryUsed / memoryMax >= FULL) {
    findings.push(
      warn(
        `The memory of this container is ${percentText(memoryUsed / memoryMax)} used`,
        `${used}${bytesText(memoryMax)}`,
        'Raise the memory limit, or lower CONCURRENCY.',
      ),
    );
  }
  if (memoryMax !== undefined && memoryMax < MEMORY_MIN) {
    findings.push(
      warn(
        `A memory limit of ${bytesText(memoryMax)} is too low for a service`,
        `a service needs ${bytesText(MEMORY_MIN)} or more`,
        'Raise the memory limit.',
      ),
    );
  } else if (memoryMax !== undefined && heapMax > memoryMax) {
    findings.push(
      warn(
        'Node may grow beyond the memory limit before it collects garbage: it would be killed',
        `heap up to ${bytesText(heapMax)}, limit ${bytesText(memoryMax)}`,
        `Set NODE_OPTIONS=--max-old-space-size=${Math.floor((memoryMax * 0.75) / 1024 ** 2)} for the service.`,
      ),
    );
  }
  if (throttledShare >= THROTTLED_SHARE) {
    findings.push(
      warn(
        `This container is held back for lack of CPU in ${percentText(throttledShare)} of its time slices`,
        cpus === undefined ? '' : `limit ${cpus} CPUs`,
        'Raise or remove the CPU limit: pulses and locks come late otherwise.',
      ),
    );
  }
  if (findings.length > 0) return findings;
  const memory =
    memoryMax === undefined ? 'no memory limit' : `${used}${bytesText(memoryMax)} of memory`;
  const killed =
    oomKills === 0 ? '' : `, ${countText(oomKills, 'kill')} for lack of memory since its start`;
  const seen = `${memory}, ${cpus ?? `all ${cores}`} CPUs${killed}`;
  return [pass('The limits of this container are enough', seen)];
}

function shareOf(stat: ReadonlyMap<string, string>): number {
  const periods = numberOf(stat, 'nr_periods') ?? 0;
  return periods === 0 ? 0 : (numberOf(stat, 'nr_throttled') ?? 0) / periods;
}

async function text(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return undefined;
  }
}

/** Lines of a name and a number. */
function fields(lines: string | undefined): ReadonlyMap<string, string> {
  return new Map((lines ?? '').split('\n').map((line) => line.split(' ', 2) as [string, string]));
}

function asNumber(from: string | undefined): number | undefined {
  const value = Number(from);
  return from === undefined || !Number.isFinite(value) ? undefined : value;
}
