/**
 * `GET /v1/status`: all that the status page shows, in one answer, and the same live as server-sent
 * events. Answers at once whatever Redis does: what only Redis knows is then as it was last read.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { ServiceBusyError } from '../errors.ts';
import { describeCondition } from '../redis/condition-catalogue.ts';
import type { HttpContext } from './context.ts';
import { OutageTimeline } from './outage-timeline.ts';
import { QueueSampler } from './queue-sampler.ts';
import { endStream, openStream, readerOf } from './sse.ts';
import { summaryOf } from './status-summary.ts';

/** A page per person on call and a few screens. */
const STREAMS_MAX = 50;
/** What a person perceives as live, ms. */
const LOOK_EVERY_MS = 1000;
/** Proxies drop a silent response after 30 to 60 s. */
const HEARTBEAT_MS = 15_000;
/** Then the page connects again, and shows its token or cookie again, ms. */
const STREAM_MS_MAX = 10 * 60_000;

/** Before it nothing is known of outages. ms since the epoch. */
const PROCESS_STARTED_AT = Math.round(Date.now() - process.uptime() * 1000);

export function registerStatus(app: FastifyInstance, context: HttpContext): void {
  const sampler = new QueueSampler(context);
  app.addHook('onListen', async () => sampler.start(context.stopping));
  const timeline = new OutageTimeline(context);
  let streams = 0;

  app.get('/v1/status', async (request) => ({
    at: Date.now(),
    scope: context.access.scopeOf(request.headers),
    ...(await statusOf(context, sampler, timeline)),
  }));

  // A HEAD of a stream would never end.
  app.get('/v1/status/events', { exposeHeadRoute: false }, async (request, reply) => {
    if (streams >= STREAMS_MAX) {
      throw new ServiceBusyError(
        `All ${STREAMS_MAX} status streams of this replica are taken.`,
        'Poll /v1/status, or try again.',
      );
    }
    streams++;
    reply.hijack();
    const { raw } = reply;
    const signal = readerOf(raw, context.stopping);
    try {
      const events = openStream(raw, signal);
      const end = performance.now() + STREAM_MS_MAX;
      const scope = context.access.scopeOf(request.headers);
      while (!signal.aborted && performance.now() < end) {
        const now = await statusOf(context, sampler, timeline);
        await events.say('status', { scope, ...now });
        await events.beat(HEARTBEAT_MS);
        await sleep(LOOK_EVERY_MS, undefined, { signal });
      }
    } catch (error) {
      if (!signal.aborted) context.log.error({ event: 'http.failed', err: error }, 'stream failed');
    } finally {
      streams--;
      endStream(raw, context.stopping.aborted);
    }
  });
}

/** Without the present time, so that it changes only when something does. */
async function statusOf(context: HttpContext, sampler: QueueSampler, timeline: OutageTimeline) {
  const { config, target, consumption, journal } = context;
  const state = target.state();
  // While it is known to be away, asking would only tell so again.
  if (state.breaker === 'closed') await Promise.all([sampler.refresh(), context.look()]);
  const { queues, isStarted, isStopping } = consumption();
  const stats = journal?.();
  const shown = queues.map(
    ({ queue, isConsuming, reason, running = 0, concurrency, finished }) => ({
      queue,
      isConsuming,
      reason,
      running,
      concurrency,
      perMinute: sampler.perMinute(queue, finished),
      reading: sampler.of(queue) ?? null,
    }),
  );
  const about = state.condition === undefined ? undefined : describeCondition(state.condition);
  return {
    service: 'holdfast',
    version: config.version,
    replica: config.replica,
    startedAt: PROCESS_STARTED_AT,
    isLocked: context.access.isLocked,
    ...summaryOf({
      ...state,
      isStarted,
      isStopping,
      queues,
      meaning: about?.meaning,
      journal: stats,
      warnings: context.warnings(),
    }),
    breaker: { state: state.breaker, since: state.since, outageId: state.outageId },
    condition: about === undefined ? null : { name: state.condition, ...about },
    // In an outage there is nothing left to warn of.
    warnings: state.breaker === 'closed' ? context.warnings() : [],
    queues: shown,
    journal: stats ?? null,
    fleet: await context.replicas(),
    outages: await timeline.read(),
  };
}
