/**
 * Sends the retake script for one queue and reads its answer. See `lua/retake.ts` for what it does.
 */
import type { ServerIdentity } from '../redis/identity.ts';
import type { Instant } from '../time.ts';
import type { Generation } from './generation.ts';
import type { HeldJob, QueueLedger } from './ledger.ts';
import type { Verdict } from './target-core.ts';

export type RetakeMode = 'held' | 'unsettled' | 'settled';

export interface RetakeEntry {
  job: HeldJob;
  mode: RetakeMode;
}

export interface RetakeRequest {
  /** Read on only when the verdicts of those before it are known; see `onVerdict`. */
  jobs: Iterable<RetakeEntry>;
  onVerdict?: (entry: RetakeEntry, verdict: Verdict) => void;
  doubtful: readonly string[];
  epoch: string;
  /** Begins this epoch, unless a later one has begun; otherwise it asks within the epoch, and only then acts. */
  beginsEpoch: boolean;
  member: string;
  /** See {@link lifeOf}. */
  server: string;
  identityChanged: boolean;
  /** An own lock had expired: the fleet's stalled checks must wait. */
  expired: boolean;
  holdMs: number;
  /** How long nobody takes work after a change of identity, at most; 0 for whoever was not there before it. */
  barrierMs: number;
  /** How long plain BullMQ workers leave stalled jobs to us; 0 for producers. */
  guardMs: number;
  /** Server time (ms) since when a member must have shown life to be waited for. */
  aliveFrom: number;
  /** Milliseconds within which the script must run at the server. */
  fenceMs: number;
  processId: string;
}

export interface RetakeReply {
  verdicts: Verdict[];
  handedBack: string[];
  /** Milliseconds for which the fleet's barrier still stands; 0 when it does not. */
  barrierMs: number;
  /** The epoch found in Redis; empty when the key was gone. */
  epochBefore: string;
  members: number;
}

/** Jobs in one script: each of them costs Redis some 20 µs, in which it does nothing else. */
export const RETAKE_JOBS_MAX = 500;

/** A job that a rollback undid may be added again within this time, ms; its worker waits for it. */
export const RAN_MS = 60_000;

/** Our keys outlive any outage that we promise to survive, and then go by themselves. */
export const KEEP_MS = 7 * 24 * 3600 * 1000;

/** Plain BullMQ workers leave stalled jobs to us through outages of this length, ms. */
const GUARD_MS = 10 * 60_000;

/** Who has not looked for stalled jobs for so many of its intervals does not look: quiet, or not set up. */
const INTERVALS_MAX = 3;

/** Ms for which plain BullMQ workers leave stalled jobs of the queue to us; 0 where we do not look for them. */
export function guardMs({ checkedAt, stalledIntervalMs }: QueueLedger, now: Instant): number {
  return now - checkedAt <= INTERVALS_MAX * stalledIntervalMs ? GUARD_MS : 0;
}

/** Names a server and one life of its dataset: a master that was demoted for a while keeps its run id. */
export function lifeOf({ runId, replicationId }: ServerIdentity): string {
  return `${runId}:${replicationId}`;
}

/** What one of several scripts is about. */
interface Part {
  jobs: RetakeEntry[];
  isFirst: boolean;
  isLast: boolean;
  /** Jobs that those before it have put in front of the active ones: none of them is asked for again. */
  pulled: number;
  /** Found by the first: jobs of tokens in doubt, with their tokens. */
  handBack: [id: string, token: string][];
}

type PartReply = [string[], string[], number, string, number, [string, string][]];

/** As many scripts as the jobs need, one after the other. */
export async function retake(
  generation: Generation,
  ledger: QueueLedger,
  request: RetakeRequest,
): Promise<RetakeReply> {
  const verdicts: Verdict[] = [];
  const ours = new Set<string>();
  const entries = request.jobs[Symbol.iterator]();
  let handBack: Part['handBack'] = [];
  let epochBefore: string | undefined;
  let pulled = 0;
  let next = entries.next();
  for (;;) {
    const jobs: RetakeEntry[] = [];
    for (; !next.done && jobs.length < RETAKE_JOBS_MAX; next = entries.next())
      jobs.push(next.value);
    const isFirst = epochBefore === undefined;
    const isLast = next.done === true;
    if (isLast) handBack = handBack.filter(([id]) => !ours.has(id));
    const part = { jobs, isFirst, isLast, pulled, handBack: isLast ? handBack : [] };
    const reply = await retakePart(generation, ledger, request, part);
    const [found, handedBack, barrierMs, before, members, inDoubt] = reply;
    epochBefore ??= before;
    handBack.push(...inDoubt);
    for (const [i, entry] of jobs.entries()) {
      const verdict = found[i] as Verdict;
      verdicts.push(verdict);
      if (verdict === 'kept' || verdict === 'pulled') ours.add(entry.job.id);
      if (verdict === 'pulled') pulled += 1;
      request.onVerdict?.(entry, verdict);
    }
    if (!isLast) continue;
    return {
      verdicts,
      handedBack,
      barrierMs: Math.max(0, Number(barrierMs)),
      epochBefore,
      members: Number(members),
    };
  }
}

async function retakePart(
  generation: Generation,
  ledger: QueueLedger,
  request: RetakeRequest,
  { jobs, isFirst, isLast, pulled, handBack }: Part,
): Promise<PartReply> {
  const keys = [
    'wait',
    'paused',
    'active',
    'prioritized',
    'delayed',
    'stalled',
    'completed',
    'failed',
    'waiting-children',
    'meta',
    'marker',
  ].map((type) => ledger.toKey(type));
  keys.push(
    ledger.key(`epoch:${request.processId}`),
    ledger.key('members'),
    ledger.key('stalled-check'),
    ledger.key('barrier'),
    ledger.key('barrier:server'),
    ledger.key('barrier:recovered'),
    ledger.toKey('stalled-check'),
    ledger.key('ran'),
  );
  // JSON, not msgpack: an empty list must stay a list on the Lua side only where its length is asked.
  const body = JSON.stringify({
    jobs: jobs.map(({ job, mode }) => [
      job.id,
      job.token,
      job.timestamp,
      job.attemptsStarted,
      job.attemptsMade,
      mode,
      job.lockMs,
      job.alias ?? '',
      job.stalls ?? Number.MAX_SAFE_INTEGER,
    ]),
    doubtful: isFirst ? request.doubtful : [],
    handBack,
    skip: pulled,
    isFirst: isFirst ? 1 : 0,
    isLast: isLast ? 1 : 0,
    epoch: request.epoch,
    beginsEpoch: isFirst && request.beginsEpoch ? 1 : 0,
    processId: request.processId,
    member: request.member,
    server: request.server,
    identityChanged: request.identityChanged ? 1 : 0,
    expired: request.expired ? 1 : 0,
    holdMs: request.holdMs,
    barrierMs: Math.ceil(request.barrierMs),
    guardMs: request.guardMs,
    keepMs: KEEP_MS,
    ranMs: RAN_MS,
    aliveFrom: Math.floor(request.aliveFrom),
    deadline: Math.ceil(generation.serverNow() + request.fenceMs),
  });
  return (await generation.script('retake', [...keys, ledger.toKey(''), body])) as PartReply;
}

/** True when a lock of ours must have expired by `now` for all that we know. */
export function lockExpired(job: HeldJob, now: Instant): boolean {
  return now - job.lockedAt > job.lockMs;
}
