/**
 * A job's progress as server-sent events. It polls the job's state, so that a missed event of
 * BullMQ's stream cannot leave a watcher waiting; each poll and the whole stream have a deadline,
 * and there are never more than STREAMS_MAX streams. Nothing is buffered for a slow reader: it
 * gets the newest state when it reads again.
 */
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { InvalidInputError, RedisUnavailableError, ServiceBusyError } from '../errors.ts';
import type { JobView } from '../queue/client.ts';
import { within } from '../within.ts';
import type { HttpContext } from './context.ts';
import { findJob, type JobParams, READ_WITHIN_MS } from './jobs.ts';
import { endStream, openStream, readerOf } from './sse.ts';

/** Each stream costs a poll per interval and a socket; a page or a script needs a handful. */
const STREAMS_MAX = 100;
/** What a person perceives as live; at 100 streams 200 reads/s. */
const POLL_INTERVAL_MS = 500;
/** Proxies drop a silent response after 30 to 60 s. */
const HEARTBEAT_MS = 15_000;
/** A watcher that wants longer connects again; EventSource does so by itself. */
const STREAM_MS_DEFAULT = 10 * 60_000;
const STREAM_MS_MAX = 60 * 60_000;

const FINISHED = new Set(['completed', 'failed', 'refused']);

export interface EventsTiming {
  pollIntervalMs: number;
  heartbeatMs: number;
  streamsMax: number;
}

const DEFAULT_TIMING: EventsTiming = {
  pollIntervalMs: POLL_INTERVAL_MS,
  heartbeatMs: HEARTBEAT_MS,
  streamsMax: STREAMS_MAX,
};

export function registerEvents(
  app: FastifyInstance,
  context: HttpContext,
  timing: EventsTiming = DEFAULT_TIMING,
): void {
  let streams = 0;
  app.get<{ Params: JobParams; Querystring: { timeout?: string } }>(
    '/v1/queues/:queue/jobs/:id/events',
    // A HEAD of a stream would not end before it.
    { exposeHeadRoute: false },
    async (request, reply) => {
      const { queue, id } = request.params;
      const streamMs = readTimeout(request.query.timeout);
      if (streams >= timing.streamsMax) {
        throw new ServiceBusyError(
          `All ${timing.streamsMax} event streams of this replica are taken.`,
          'Poll …/jobs/{id}, or try again.',
        );
      }
      streams++;
      try {
        const signal = readerOf(reply.raw, context.stopping);
        // Before the first byte, so that "no such job" and "Redis is away" are plain answers.
        const first = await findJob(context, queue, id);
        reply.hijack();
        await stream(reply.raw, { context, queue, id, first, streamMs, signal, timing });
      } finally {
        streams--;
      }
    },
  );
}

interface Watch {
  context: HttpContext;
  queue: string;
  id: string;
  first: JobView;
  streamMs: number;
  /** Of `readerOf`. */
  signal: AbortSignal;
  timing: EventsTiming;
}

async function stream(raw: ServerResponse, watch: Watch): Promise<void> {
  const { context, queue, id, timing, signal } = watch;
  const end = performance.now() + watch.streamMs;
  const events = openStream(raw, signal);
  try {
    let job: JobView | undefined = watch.first;
    while (!signal.aborted) {
      if (job === undefined) return await events.say('gone', { id, queue });
      if (job !== UNREADABLE) {
        await events.say(FINISHED.has(job.state) ? job.state : 'progress', job);
        if (FINISHED.has(job.state)) return;
      } else await events.say('unavailable', context.target.state());
      if (performance.now() >= end) return await events.say('timeout', { id, queue });
      await events.beat(timing.heartbeatMs);
      await sleep(timing.pollIntervalMs, undefined, { signal });
      job = await read(context, queue, id);
    }
  } catch (error) {
    if (!signal.aborted) context.log.error({ event: 'http.failed', err: error }, 'stream failed');
  } finally {
    endStream(raw, context.stopping.aborted);
  }
}

/** Stands for "Redis did not say": the watcher is told once, and the stream goes on. */
const UNREADABLE: JobView = Object.freeze({}) as JobView;

async function read(context: HttpContext, queue: string, id: string): Promise<JobView | undefined> {
  try {
    return await within(context.client.job(queue, id), READ_WITHIN_MS, 'reading the job');
  } catch (error) {
    if (error instanceof RedisUnavailableError) return UNREADABLE;
    throw error;
  }
}

function readTimeout(text: string | undefined): number {
  if (text === undefined) return STREAM_MS_DEFAULT;
  const seconds = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (!(seconds >= 1 && seconds * 1000 <= STREAM_MS_MAX)) {
    throw new InvalidInputError(
      '?timeout',
      'is not a number of seconds that a stream may last',
      `Use 1 to ${STREAM_MS_MAX / 1000} seconds.`,
    );
  }
  return seconds * 1000;
}
