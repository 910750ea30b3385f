/**
 * bull-board at /queues: the jobs themselves, for administrators. Where no token is set, anybody on
 * this machine may look, and nobody may change anything. While Redis is away it says so at once
 * instead of waiting for it.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import type { FastifyInstance } from 'fastify';
import { RedisUnavailableError } from '../errors.ts';
import type { HttpContext } from './context.ts';
import { BOARD_POLICY } from './headers.ts';
import { sendPage } from './pages.ts';
import { toProblem } from './problem.ts';

type ServerAdapter = Parameters<typeof createBullBoard>[0]['serverAdapter'];

export const BOARD_PATH = '/queues';
/** Its answers are lists of jobs; Redis has so long for one, ms. */
const ANSWER_WITHIN_MS = 5000;

export async function registerBoard(
  app: FastifyInstance,
  context: HttpContext,
  bodyBytesMax: number,
): Promise<void> {
  const { client, access, target, consumption } = context;
  const readOnlyMode = !access.isLocked;
  const names = consumption().queues.map(({ queue }) => queue);
  const queues = names.map((name) => new BullMQAdapter(client.queue(name), { readOnlyMode }));
  const adapter = new FastifyAdapter();
  createBullBoard({
    queues,
    // The same interface, which npm may install twice, in versions of its own.
    serverAdapter: adapter as unknown as ServerAdapter,
    options: { uiConfig: { boardTitle: 'Holdfast jobs', favIcon: ICON } },
  });
  adapter.setBasePath(BOARD_PATH);
  adapter.setErrorHandler((error) => {
    const { problem } = toProblem(error, BOARD_PATH, { bytesMax: bodyBytesMax });
    // bull-board's own page shows `error`.
    return { status: problem.status as 500, body: { ...problem, error: problem.detail } };
  });

  app.addHook('onRoute', (route) => {
    // Where helmet looks for a route's own policy; its types know only the short way, set before.
    route.config = Object.assign(route.config ?? {}, { helmet: BOARD_POLICY });
    route.handlerTimeout = ANSWER_WITHIN_MS;
  });
  app.addHook('preHandler', async (request, reply) => {
    const { breaker, condition, outageId } = target.state();
    const path = request.url.slice(BOARD_PATH.length);
    if (breaker === 'closed' || path.startsWith('/static/')) return;
    const away = new RedisUnavailableError('showing jobs', condition ?? breaker, outageId);
    if (path.startsWith('/api/')) throw away;
    return sendPage(reply.header('retry-after', '2'), 'jobs-away.html', 503);
  });
  await app.register(adapter.registerPlugin());
}

const ICON = { default: '/pages/icon.svg', alternative: '/pages/icon.svg' };
