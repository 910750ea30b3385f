/**
 * What happened in one outage, gathered while it lasts: from when to when, what was wrong, the evidence,
 * what was held, kept and written again. Pure: told what happened and when, it keeps account. Bounded,
 * whatever an outage throws at it.
 */

import { redactPlain } from '../redaction.ts';

/** A condition and when it was first seen in the outage, ms since the epoch. */
export interface ConditionSeen {
  name: string;
  at: number;
}

/** An error text, how often it came, and when first, ms since the epoch. */
export interface Evidence {
  text: string;
  count: number;
  at: number;
}

export interface OutageCounts {
  /** Jobs in flight here when it began. */
  held: number;
  /** Outcomes put on disk. */
  journaled: number;
  /** Jobs that were accepted into the journal. */
  accepted: number;
  /** Outcomes written to Redis on recovery. */
  replayed: number;
  /** Outcomes that the dataset had lost, written again. */
  healed: number;
  locksRetaken: number;
  /** Jobs pulled back from a state in which another worker could have taken them. */
  pulledBack: number;
  /** Jobs that a request without a reply had taken, handed back. */
  handedBack: number;
  /** Runs here that turned out to be another's job. */
  runsLost: number;
  probes: number;
}

export interface OutageRecord {
  id: string;
  /** What the replicas agreed on after recovery: outages of one cause have one. */
  fleetId: string | undefined;
  /** ms since the epoch */
  startedAt: number;
  endedAt: number | undefined;
  /** When the service was stopped while Redis was away, ms since the epoch. */
  stoppedAt: number | undefined;
  /** The first is what opened the breaker, or what the first probe said of how a connection ended. */
  conditions: ConditionSeen[];
  evidence: Evidence[];
  counts: OutageCounts;
  /** What became of the server: same, restarted, failed-over. */
  identity: string | undefined;
  /**
   * ms from Redis' last answer to the opening of the breaker, for what only silence told; 0 where a socket
   * or an error reply told it at once.
   */
  detectMs: number;
  /** ms from the first answer of Redis after the outage to the first job that began here. */
  firstJobMs: number | undefined;
}

/** Different error texts that are kept; more are counted under "others". */
const EVIDENCE_MAX = 20;
/** Changes of condition that are kept: a flapping server must not fill memory. */
const CONDITIONS_MAX = 50;
const TEXT_MAX = 300;
/** Characters of a text that are looked at: an error must not cost time. */
const READ_MAX = 4000;
/** Stands for the texts beyond the bound. */
const OTHERS = 'others';

export function openRecord(
  id: string,
  condition: string,
  at: number,
  held: number,
  detectMs = 0,
): OutageRecord {
  return {
    id,
    fleetId: undefined,
    startedAt: at,
    endedAt: undefined,
    stoppedAt: undefined,
    conditions: [{ name: condition, at }],
    evidence: [],
    counts: {
      held,
      journaled: 0,
      accepted: 0,
      replayed: 0,
      healed: 0,
      locksRetaken: 0,
      pulledBack: 0,
      handedBack: 0,
      runsLost: 0,
      probes: 0,
    },
    identity: undefined,
    detectMs,
    firstJobMs: undefined,
  };
}

/** Notes a condition when it differs from the last one; returns whether it did. */
export function noteCondition(record: OutageRecord, name: string, at: number): boolean {
  if (record.conditions.at(-1)?.name === name || record.conditions.length >= CONDITIONS_MAX) {
    return false;
  }
  record.conditions.push({ name, at });
  return true;
}

/** A word for what was only known to have ended: it was so from the beginning. */
export function nameBeginning(record: OutageRecord, name: string): void {
  record.conditions[0]!.name = name;
}

/** Conditions in their order, and until when the last one stood, ms since the epoch. */
export interface Story {
  conditions: readonly ConditionSeen[];
  until: number;
}

/** The condition that lasted longest: the first may only be how the end of a connection looked. */
export function longestCondition(stories: readonly Story[]): string {
  const lasted = new Map<string, number>();
  for (const { conditions, until } of stories) {
    for (const [i, { name, at }] of conditions.entries()) {
      const end = conditions[i + 1]?.at ?? until;
      lasted.set(name, (lasted.get(name) ?? 0) + Math.max(0, end - at));
    }
  }
  return [...lasted].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 'refused';
}

/** Notes an error text, without the secrets that it may carry, and returns what is noted of it. */
export function noteEvidence(record: OutageRecord, text: string, at: number): Evidence {
  const short = redactPlain(text.slice(0, READ_MAX)).slice(0, TEXT_MAX);
  const known = record.evidence.find((evidence) => evidence.text === short);
  if (known) {
    known.count += 1;
    return known;
  }
  const seen = { text: short, count: 1, at };
  if (record.evidence.length < EVIDENCE_MAX) record.evidence.push(seen);
  else {
    const last = record.evidence.at(-1)!;
    if (last.text === OTHERS) last.count += 1;
    else record.evidence.push({ text: OTHERS, count: 1, at });
  }
  return seen;
}

/** How long it lasted so far, ms. */
export function lengthMs(record: OutageRecord, now: number): number {
  return (record.endedAt ?? now) - record.startedAt;
}
