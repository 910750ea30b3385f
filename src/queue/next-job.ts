/**
 * Which job of a queue is next and since when it is due, read from BullMQ's keys; and whether the queue is
 * paused, for in BullMQ 6 the jobs of a paused queue stay where they are. Few small reads, whatever a job
 * holds; changes nothing.
 */
import type { Cluster, Redis } from 'ioredis';

export interface QueueLook {
  isPaused: boolean;
  /** Since when the job that is next has been due, ms since the epoch; undefined without one. */
  dueAt: number | undefined;
}

/** `defaultBackoff`: that of the queue's handler, for jobs that say none. @throws what Redis says */
export async function lookAtQueue(
  client: Redis | Cluster,
  prefix: string,
  queue: string,
  defaultBackoff?: unknown,
): Promise<QueueLook> {
  const key = (name: string): string => `${prefix}:${queue}:${name}`;
  const [waiting, prioritized, [paused = null]] = await Promise.all([
    client.lindex(key('wait'), -1),
    client.zrange(key('prioritized'), '0', '0'),
    client.hmget(key('meta'), 'paused'),
  ]);
  // BullMQ's two lists of jobs that could begin.
  const next = [waiting, ...prioritized].filter((id) => typeof id === 'string');
  const jobs = await Promise.all(
    next.map((id) => client.hmget(key(id), 'timestamp', 'opts', 'processedOn', 'atm')),
  );
  const due = jobs.map((job) => dueAt(job, defaultBackoff)).filter((at) => at !== undefined);
  return { isPaused: paused !== null, dueAt: due.length === 0 ? undefined : Math.min(...due) };
}

interface JobOptions {
  delay?: unknown;
  backoff?: unknown;
}

/**
 * When a job could first begin; of one that is tried again when its pause was over, as far as that can be
 * told: its last try began at `processedOn`, and how long that took is kept nowhere.
 */
function dueAt(
  [timestamp, options, processedOn, attemptsMade]: readonly (string | null)[],
  defaultBackoff: unknown,
): number | undefined {
  if (timestamp === null || timestamp === undefined) return undefined;
  const { delay, backoff = defaultBackoff } = parsed(options);
  const first = Number(timestamp) + (typeof delay === 'number' ? delay : 0);
  if (!processedOn) return first;
  return Math.max(first, Number(processedOn) + pauseBefore(Number(attemptsMade ?? 0), backoff));
}

/** The longest pause that BullMQ makes after so many tries, ms: jitter only shortens it. */
function pauseBefore(attemptsMade: number, backoff: unknown): number {
  if (attemptsMade < 1) return 0;
  if (typeof backoff === 'number') return backoff;
  const { type, delay } = (backoff ?? {}) as { type?: unknown; delay?: unknown };
  if (typeof delay !== 'number') return 0;
  return type === 'exponential' ? delay * 2 ** (attemptsMade - 1) : delay;
}

function parsed(options: string | null | undefined): JobOptions {
  try {
    return (JSON.parse(options ?? '{}') ?? {}) as JobOptions;
  } catch {
    return {};
  }
}
