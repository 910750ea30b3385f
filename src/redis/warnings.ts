/**
 * What INFO says before an outage: memory that grows toward its limit, clients near theirs, a replica
 * that is behind, a save that failed; a certificate about to expire, and answers that come late. Pure. What a server does not
 * tell (managed ones leave fields out) is no warning.
 */
import type { ConditionName } from './condition-catalogue.ts';

export interface Finding {
  name: ConditionName;
  /** What was seen, as a phrase. */
  evidence: string;
}

/** Memory and clients as a part of their limit, to tell a trend. */
export interface Look {
  /** Monotonic ms. */
  at: number;
  memory: number | undefined;
}

/** A warning begins at this part of a limit, and ends only below the second. */
const BEGINS_AT = 0.9;
const ENDS_BELOW = 0.85;
/** Memory that would be full within this time, at its present growth, ms … */
const FULL_WITHIN_MS = 15 * 60_000;
/** … counts only beyond this part of the limit: an empty server grows fast and means nothing. */
const TREND_FROM = 0.6;
/** A trend is told from looks at least so far apart, ms. */
const TREND_OVER_MS = 60_000;
/** A replica acknowledges each second. */
const LAG_SECONDS = 10;
const EXPIRES_WITHIN_DAYS = 14;
const DAY_MS = 86_400_000;
/** A round trip of so long is told, ms; in one data centre it takes below 2 … */
const SLOW_MS = 500;
/** … and is over only below this, ms. */
const SLOW_ENDS_BELOW_MS = 300;

/**
 * @param had names of the warnings that stand: they end later than they begin
 * @param before earlier looks, oldest first
 */
export function findWarnings(
  info: string,
  had: ReadonlySet<string>,
  before: readonly Look[],
  now: number,
): { findings: Finding[]; look: Look } {
  const fields = parse(info);
  const findings: Finding[] = [];
  const limit = (name: string) => (had.has(name) ? ENDS_BELOW : BEGINS_AT);

  const max = number(fields, 'maxmemory');
  const used = number(fields, 'used_memory');
  const isLimited = max !== undefined && max > 0 && used !== undefined;
  // Buffers of replicas and of the AOF do not count toward maxmemory.
  const counted = (used ?? 0) - (number(fields, 'mem_not_counted_for_evict') ?? 0);
  const memory = isLimited ? counted / max : undefined;
  if (memory !== undefined) {
    const fullInMs = timeUntilFull(memory, before, now);
    if (memory >= limit('memory-filling')) {
      findings.push({
        name: 'memory-filling',
        evidence: `${percent(memory)} of maxmemory is used`,
      });
    } else if (memory >= TREND_FROM && fullInMs !== undefined && fullInMs < FULL_WITHIN_MS) {
      const minutes = Math.max(1, Math.round(fullInMs / 60_000));
      findings.push({
        name: 'memory-filling',
        evidence: `${percent(memory)} of maxmemory is used; at its present growth it is full in ${minutes} min`,
      });
    }
  }

  const clients = number(fields, 'connected_clients');
  const clientsMax = number(fields, 'maxclients');
  if (clients !== undefined && clientsMax !== undefined && clientsMax > 0) {
    if (clients / clientsMax >= limit('clients-near-limit')) {
      findings.push({
        name: 'clients-near-limit',
        evidence: `${clients} of ${clientsMax} clients are connected`,
      });
    }
  }

  const behind = [...fields].find(
    ([name, value]) => /^slave\d+$/.test(name) && lagOf(value) >= LAG_SECONDS,
  );
  if (behind) {
    findings.push({
      name: 'replica-lagging',
      evidence: `a replica has not acknowledged for ${lagOf(behind[1])} s`,
    });
  }

  const failed = ['rdb_last_bgsave_status', 'aof_last_write_status', 'aof_last_bgrewrite_status']
    .filter((name) => fields.get(name) === 'err')
    .map((name) => `${name}:err`);
  if (failed.length > 0) findings.push({ name: 'save-failing', evidence: failed.join(', ') });
  return { findings, look: { at: now, memory } };
}

/** `validTo`: the last moment of the certificate as Node gives it; `now`: ms since the epoch. */
export function findExpiry(validTo: string | undefined, now: number): Finding | undefined {
  const left = Date.parse(validTo ?? '') - now;
  // NaN: no certificate, or no date that can be read.
  if (!(left < EXPIRES_WITHIN_DAYS * DAY_MS)) return undefined;
  const days = Math.floor(left / DAY_MS);
  const evidence =
    left < 0
      ? 'the certificate has expired; the present connection still stands'
      : `the certificate expires in ${days === 1 ? '1 day' : `${days} days`}`;
  return { name: 'certificate-expiring', evidence };
}

/** `roundTripMs`: the shortest of some, so that a stall of our own is no finding. `had`: it stands. */
export function findSlowness(roundTripMs: number, had: boolean): Finding | undefined {
  if (roundTripMs < (had ? SLOW_ENDS_BELOW_MS : SLOW_MS)) return undefined;
  return { name: 'slow', evidence: `a round trip takes ${Math.round(roundTripMs)} ms` };
}

function timeUntilFull(memory: number, before: readonly Look[], now: number): number | undefined {
  const first = before.find((look) => look.memory !== undefined);
  if (first?.memory === undefined || now - first.at < TREND_OVER_MS) return undefined;
  const perMs = (memory - first.memory) / (now - first.at);
  return perMs > 0 ? (1 - memory) / perMs : undefined;
}

function parse(info: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of info.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

function number(fields: ReadonlyMap<string, string>, name: string): number | undefined {
  const text = fields.get(name);
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Seconds since the last acknowledgement, of `ip=…,state=online,offset=…,lag=1`. */
function lagOf(slave: string): number {
  // While a replica is being filled it acknowledges nothing, and that is no lag.
  if (!slave.includes('state=online')) return 0;
  return Number(/(?:^|,)lag=(\d+)/.exec(slave)?.[1] ?? 0);
}

function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}
