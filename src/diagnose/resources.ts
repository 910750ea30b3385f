/**
 * What the server has left: memory and its trend, saves to disk, clients. And the real thing: one small
 * write, since that is what a full or read-only server refuses.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConditionName } from '../redis/condition-catalogue.ts';
import { conditionOf } from '../redis/conditions.ts';
import { bytesText, countText, durationText, percentText } from './amounts.ts';
import { type Judged, ofCondition, pass, skip, warn } from './finding.ts';
import { type Info, numberOf, parseInfo } from './info.ts';
import { isNotAllowed } from './link.ts';
import type { Check } from './scene.ts';

/** Between the two samples of --deep, ms. */
const TREND_MS = 5000;
const FILLING = 0.8;
/** Refusals of a write of which `server`, `configuration` and `acl` say more. */
const SAID: ReadonlySet<string> = new Set<ConditionName>([
  'read-only',
  'loading',
  'no-permission',
  'cluster-down',
  'no-replicas',
]);
/** Full within this time is worth a word, ms. */
const HOUR_MS = 3_600_000;

export const resources: Check = {
  name: 'resources',
  label: 'Resources',
  layer: 'redis',
  deadlineMs: 12_000,
  run: async ({ link, target, infos, isDeep }, signal) => {
    if (link === undefined || target === undefined) return [];
    const findings: Judged[] = [];
    const key = `${target.redis.prefix}:holdfast:doctor:${randomUUID()}`;
    try {
      await link.ask('SET', link.client.set(key, '1', 'PX', 1000));
      await link.ask('DEL', link.client.del(key));
    } catch (error) {
      const condition = conditionOf(error);
      if (condition === undefined) throw error;
      if (!SAID.has(condition)) {
        findings.push(ofCondition(condition, `a write of one byte: ${(error as Error).message}`));
      }
    }
    if (isDeep) await sleep(TREND_MS, undefined, { signal });
    for (const { label, client } of link.servers()) {
      const info = infos?.get(label);
      if (info === undefined) {
        findings.push(skip('Not looked at: INFO is not allowed here'));
        continue;
      }
      const later = await link
        .ask('INFO', client.info())
        .then((text) => parseInfo(String(text)))
        .catch((error: unknown) => {
          if (isNotAllowed(error)) return info;
          throw error;
        });
      findings.push(
        ...[
          // Two samples of one moment have no trend.
          ...judgeMemory(info, isDeep ? later : undefined, TREND_MS, findings),
          ...judgeDisk(info, later, findings),
          ...judgeClients(info, later),
        ].map((finding) =>
          label === '' ? finding : { ...finding, title: `${label}: ${finding.title}` },
        ),
      );
    }
    return findings;
  },
};

/** Pure. `later` is a second sample `apartMs` after the first. */
export function judgeMemory(
  info: Info,
  later: Info | undefined,
  apartMs: number,
  said: readonly Judged[] = [],
): Judged[] {
  const used = numberOf(later ?? info, 'used_memory');
  if (used === undefined) return [];
  const limit = numberOf(info, 'maxmemory') ?? 0;
  const system = numberOf(info, 'total_system_memory') ?? 0;
  const most = limit > 0 ? limit : system;
  const before = numberOf(info, 'used_memory') ?? used;
  const perSecond = later === undefined ? 0 : ((used - before) / apartMs) * 1000;
  const trend = later === undefined ? '' : `, ${trendText(perSecond, most - used)}`;
  const of =
    limit > 0 ? `maxmemory ${bytesText(limit)}` : `${bytesText(system)} of the host, no maxmemory`;
  const seen = most > 0 ? `${bytesText(used)} of ${of}${trend}` : `${bytesText(used)} used${trend}`;
  if (
    most > 0 &&
    used / most >= FILLING &&
    !said.some(({ condition }) => condition === 'out-of-memory')
  ) {
    const finding = ofCondition('memory-filling', seen, 'warn');
    finding.title = `Memory is ${percentText(used / most)} full`;
    return [finding];
  }
  if (perSecond > 0 && most > 0 && ((most - used) / perSecond) * 1000 < HOUR_MS) {
    const finding = ofCondition('memory-filling', seen, 'warn');
    finding.title = 'Memory is full within an hour if it goes on growing so';
    return [finding];
  }
  const share = most > 0 ? `: ${percentText(used / most)} used` : '';
  return said.some(({ condition }) => condition === 'out-of-memory')
    ? []
    : [pass(`Memory is enough${share}`, seen)];
}

function trendText(perSecond: number, left: number): string {
  if (perSecond <= 0) return 'not growing';
  const full = left > 0 ? `, full in ${durationText((left / perSecond) * 1000)}` : '';
  return `growing ${bytesText(perSecond)} each second${full}`;
}

/** By how much a count since the server's start grew between two samples: what is long past is no warning. */
function grownBy(name: string, before: Info, later: Info): number {
  return Math.max(0, (numberOf(later, name) ?? 0) - (numberOf(before, name) ?? 0));
}

/** Pure: saves, the append-only file, errors of the disk. `later` is a second sample. */
export function judgeDisk(info: Info, later: Info, said: readonly Judged[] = []): Judged[] {
  const findings: Judged[] = [];
  if (info.get('aof_last_write_status') === 'err') {
    findings.push(ofCondition('cannot-persist', 'aof_last_write_status:err'));
  }
  const isTold = said.some(({ condition }) => condition === 'cannot-persist');
  if (info.get('rdb_last_bgsave_status') === 'err' && !isTold) {
    findings.push(ofCondition('save-failing', 'rdb_last_bgsave_status:err', 'warn'));
  }
  if (info.get('aof_enabled') === '1' && info.get('aof_last_bgrewrite_status') === 'err') {
    findings.push(ofCondition('save-failing', 'aof_last_bgrewrite_status:err', 'warn'));
  }
  const delayed = numberOf(info, 'aof_delayed_fsync') ?? 0;
  const delayedNow = grownBy('aof_delayed_fsync', info, later);
  if (delayedNow > 0) {
    findings.push(
      warn(
        'The disk of Redis is too slow for its append-only file',
        `aof_delayed_fsync grew by ${delayedNow} just now, ${delayed + delayedNow} since its start`,
        'Put the data folder of Redis on a faster disk, or keep others away from it.',
      ),
    );
  }
  if (findings.length > 0 || isTold) return findings;
  const saved = numberOf(info, 'rdb_last_save_time');
  const changes = numberOf(info, 'rdb_changes_since_last_save') ?? 0;
  const status = [
    `last save ${info.get('rdb_last_bgsave_status') ?? 'unknown'}`,
    ...(saved === undefined || saved === 0 ? [] : [`at ${new Date(saved * 1000).toISOString()}`]),
    ...(info.get('aof_enabled') === '1' ? [`AOF ${info.get('aof_last_write_status')}`] : []),
    `${countText(changes, 'change')} since`,
    ...(delayed > 0
      ? [`${countText(delayed, 'delayed fsync')} since the start of the server`]
      : []),
  ].join(', ');
  return info.has('rdb_last_bgsave_status') ? [pass('Saves to disk succeed', status)] : findings;
}

/** Pure. `later` is a second sample. */
export function judgeClients(info: Info, later: Info): Judged[] {
  const connected = numberOf(info, 'connected_clients');
  const limit = numberOf(info, 'maxclients');
  if (connected === undefined) return [];
  const rejected = numberOf(info, 'rejected_connections') ?? 0;
  const seen = [
    `${countText(connected, 'client')}${limit === undefined ? '' : ` of ${limit}`}`,
    `${numberOf(info, 'blocked_clients') ?? 0} blocked`,
    ...(rejected > 0 ? [`${rejected} rejected since the start`] : []),
  ].join(', ');
  if (limit !== undefined && connected / limit >= FILLING) {
    return [ofCondition('clients-near-limit', seen, 'warn')];
  }
  const rejectedNow = grownBy('rejected_connections', info, later);
  if (rejectedNow > 0) {
    const finding = ofCondition('clients-near-limit', seen, 'warn');
    finding.title = `Redis turns clients away: ${rejectedNow} just now`;
    return [finding];
  }
  return [pass('Clients are far from the limit', seen)];
}
