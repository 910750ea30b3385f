/**
 * The three probes of an orchestrator. `/livez` never depends on Redis: restarting a process
 * because its database is away helps nobody. `/readyz` is green while a producer may still come
 * here: Redis is there, or accepted jobs can be kept without it.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { HttpContext } from './context.ts';

/** What lets a command line tell this service from another program on the port. */
const SERVICE = 'holdfast';

interface Health {
  status: string;
  isGreen: boolean;
  detail: Record<string, unknown>;
}

export function registerHealth(app: FastifyInstance, context: HttpContext): void {
  const route = (path: string, health: () => Health): void => {
    // Reachable without a token; then it tells a status and nothing else.
    app.get(path, (request: FastifyRequest, reply) => {
      const { status, isGreen, detail } = health();
      const body = { service: SERVICE, status };
      const isFull = context.access.maySeeDetail(request.headers);
      return reply.code(isGreen ? 200 : 503).send(isFull ? { ...body, ...detail } : body);
    });
  };
  route('/livez', () => liveness(context));
  route('/readyz', () => readiness(context));
  route('/startupz', () => startup(context));
}

/** That it is answered is the proof: the event loop turns. */
function liveness({ config }: HttpContext): Health {
  const { version, replica } = config;
  return { status: 'ok', isGreen: true, detail: { version, replica, pid: process.pid } };
}

/** Whether a producer that comes here now has its job kept. */
export function readiness({ config, target, consumption, keeping }: HttpContext): Health {
  const { breaker, condition, outageId, since } = target.state();
  const { isStarted, isStopping } = consumption();
  const detail = {
    version: config.version,
    replica: config.replica,
    breaker,
    condition,
    outageId,
    since: new Date(since).toISOString(),
  };
  if (isStopping || !isStarted) {
    const status = isStopping ? 'stopping' : 'starting';
    return { status, isGreen: false, detail: { ...detail, reason: `The service is ${status}.` } };
  }
  if (breaker === 'closed') return { status: 'ok', isGreen: true, detail };
  const { canKeep, reason: whyNot } = keeping();
  const reason = `Redis is away (${condition ?? breaker}); `;
  if (canKeep) {
    const kept = `${reason}jobs are accepted and kept in the journal.`;
    return { status: 'degraded', isGreen: true, detail: { ...detail, reason: kept } };
  }
  return {
    status: 'unavailable',
    isGreen: false,
    detail: {
      ...detail,
      reason: `${reason}jobs cannot be kept here${whyNot === undefined ? '' : ` (${whyNot})`}.`,
      remedy: '`holdfast doctor` tells what is wrong with Redis.',
    },
  };
}

function startup({ consumption }: HttpContext): Health {
  const { isStarted } = consumption();
  return { status: isStarted ? 'ok' : 'starting', isGreen: isStarted, detail: {} };
}
