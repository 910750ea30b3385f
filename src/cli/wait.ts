/**
 * Waiting for a job from outside. It asks again and again and trusts no event: an event can be
 * missed, a state cannot. An outage is told and waited through; only the deadline ends the wait
 * before the job does.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { RedisUnavailableError } from '../errors.ts';
import type { JobView } from '../queue/client.ts';
import { isServiceAway } from './followed-route.ts';
import type { Route } from './route.ts';
import { plainLine } from './terminal.ts';

/** Quick for quick jobs, and no load worth the name for long ones. */
const POLL_MS_MIN = 100;
const POLL_MS_MAX = 1000;
const POLL_GROWTH = 1.3;
/**
 * A job that Redis does not have: removed as soon as it finished (removeOnComplete), or about to be
 * put back after a rollback or from a journal, which takes seconds.
 */
const GONE_AFTER_MS = 10_000;
/** What Redis refused goes on only when a person replays it. */
const FINISHED = new Set(['completed', 'failed', 'refused']);

export type WaitEnd =
  | { type: 'finished'; job: JobView }
  | { type: 'gone' }
  | { type: 'timed-out'; last: JobView | undefined };

export interface WaitOptions {
  timeoutMs: number;
  /** Hears a line for people when something changed. */
  say: (line: string) => void;
  /** How long a job may be missing before it counts as gone, ms. */
  goneAfterMs?: number;
}

/** Resolves when the job is finished, gone, or the time is over; never rejects for an outage. */
export async function waitForJob(
  route: Pick<Route, 'job'>,
  queue: string,
  id: string,
  { timeoutMs, say, goneAfterMs = GONE_AFTER_MS }: WaitOptions,
): Promise<WaitEnd> {
  const deadline = performance.now() + timeoutMs;
  const sayChange = onlyChanges(say);
  let pollMs = POLL_MS_MIN;
  let isAway = false;
  let missingSince: number | undefined;
  let last: JobView | undefined;

  for (;;) {
    const asked = await ask(route, queue, id);
    if (asked.type === 'away') {
      if (!isAway) say(`${asked.reason}; the job is kept. Waiting …`);
      isAway = true;
      missingSince = undefined;
    } else {
      if (isAway) say('Back again.');
      isAway = false;
      if (asked.job === undefined) {
        missingSince ??= performance.now();
        if (performance.now() - missingSince > goneAfterMs) return { type: 'gone' };
      } else {
        missingSince = undefined;
        last = asked.job;
        if (FINISHED.has(last.state)) {
          return { type: 'finished', job: last };
        }
        sayChange(describe(last));
      }
    }
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) return { type: 'timed-out', last };
    await sleep(Math.min(pollMs, leftMs));
    pollMs = Math.min(POLL_MS_MAX, pollMs * POLL_GROWTH);
  }
}

type Asked = { type: 'job'; job: JobView | undefined } | { type: 'away'; reason: string };

async function ask(route: Pick<Route, 'job'>, queue: string, id: string): Promise<Asked> {
  try {
    return { type: 'job', job: await route.job(queue, id) };
  } catch (error) {
    if (error instanceof RedisUnavailableError) {
      return { type: 'away', reason: `Redis is away (${error.data.condition})` };
    }
    if (isServiceAway(error)) {
      return { type: 'away', reason: 'The service does not answer' };
    }
    throw error;
  }
}

function onlyChanges(say: (line: string) => void): (line: string) => void {
  let previous = '';
  return (line) => {
    if (line !== previous) say(line);
    previous = line;
  };
}

/** "active · 40 % · attempt 2" */
function describe({ state, progress, attemptsMade }: JobView): string {
  const parts = [state];
  const note = describeProgress(progress);
  if (note !== '') parts.push(note);
  if (attemptsMade > 0) parts.push(`attempt ${attemptsMade + 1}`);
  return parts.join(' · ');
}

function describeProgress(progress: unknown): string {
  if (progress === undefined || progress === null || progress === 0) return '';
  if (typeof progress === 'number') return `${progress} %`;
  const text = typeof progress === 'string' ? progress : JSON.stringify(progress);
  return plainLine(text === '{}' ? '' : text);
}
