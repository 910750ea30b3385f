/**
 * The probes of an orchestrator. `/livez` never depends on Redis: restarting a process because its
 * database is away helps nobody. `/readyz` is green while a producer may still come here: Redis is
 * there, or accepted jobs can be kept without it. `/readyz/consume` is green while jobs are taken.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { JournalStats } from '../journal/contract.ts';
import type { Warning } from '../queue/early-warnings.ts';
import { conditionAnchor, describeCondition } from '../redis/condition-catalogue.ts';
import type { HttpContext, Keeping } from './context.ts';

/** What lets a command line tell this service from another program on the port. */
const SERVICE = 'holdfast';

interface Health {
  status: string;
  isGreen: boolean;
  detail: Record<string, unknown>;
}

export function registerHealth(app: FastifyInstance, context: HttpContext): void {
  type Question = (params: { queue?: string }) => Health | Promise<Health>;
  const route = (path: string, health: Question): void => {
    // Reachable without a token; then it tells a status and nothing else.
    app.get(path, async (request: FastifyRequest, reply) => {
      const { status, isGreen, detail } = await health(request.params as { queue?: string });
      const body = { service: SERVICE, status };
      const isFull = context.access.maySeeDetail(request.headers);
      return reply.code(isGreen ? 200 : 503).send(isFull ? { ...body, ...detail } : body);
    });
  };
  route('/livez', () => liveness(context));
  route('/readyz', () => readiness(context));
  route('/readyz/consume', () => consuming(context));
  route('/readyz/consume/:queue', ({ queue }) => consuming(context, queue));
  route('/startupz', () => startup(context));
}

/** That it is answered is the proof: the event loop turns. Red only where a new process would help. */
function liveness({ config, consumption }: HttpContext): Health {
  const { version, replica } = config;
  const detail = { version, replica, pid: process.pid };
  const stuck = consumption().queues.filter(({ isStuck }) => isStuck);
  if (stuck.length === 0) return { status: 'ok', isGreen: true, detail };
  const queues = stuck.map(({ queue }) => queue).join(', ');
  const reason = `Nothing is taken from ${queues} although jobs wait, and rebuilding the worker did not help.`;
  return { status: 'wedged', isGreen: false, detail: { ...detail, reason } };
}

/** Whether this replica takes jobs: of the queue, or of any. */
async function consuming(
  { config, consumption, look }: HttpContext,
  queue?: string,
): Promise<Health> {
  await look();
  const { queues } = consumption();
  const asked = queue === undefined ? queues : queues.filter((one) => one.queue === queue);
  const isGreen = asked.some(({ isConsuming }) => isConsuming);
  const told = asked.map(({ queue: name, isConsuming, reason }) => ({
    queue: name,
    isConsuming,
    ...(reason === undefined ? {} : { reason }),
  }));
  const detail = {
    version: config.version,
    replica: config.replica,
    queues: told,
    ...(asked.length === 0 ? { reason: 'No handler of this replica names such a queue.' } : {}),
  };
  return { status: isGreen ? 'ok' : 'unavailable', isGreen, detail };
}

/** Whether a producer that comes here now has its job kept. */
export function readiness({ config, target, consumption, keeping, warnings }: HttpContext): Health {
  const { breaker, condition, evidence, outageId, since } = target.state();
  const { isStarted, isStopping } = consumption();
  const detail = {
    version: config.version,
    replica: config.replica,
    breaker,
    condition,
    ...(condition === undefined ? {} : causeDetail(condition, evidence)),
    outageId,
    since: new Date(since).toISOString(),
    ...warningsDetail(warnings()),
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
    },
  };
}

/** What the catalogue says of a condition, and the last error that told of it. */
function causeDetail(condition: string, evidence: string | undefined): object {
  const { cause, meaning, remedy } = describeCondition(condition);
  const docs = conditionAnchor(condition);
  return { cause, meaning, remedy, docs, ...(evidence === undefined ? {} : { evidence }) };
}

/** Nothing where nothing is to be warned of. */
function warningsDetail(warnings: readonly Warning[]): object {
  if (warnings.length === 0) return {};
  const shown = warnings.map((warning) => ({
    ...warning,
    since: new Date(warning.since).toISOString(),
  }));
  return { warnings: shown };
}

/** Whether one more accepted job would find room in the journal. */
export function keepingOf({
  entries,
  entriesMax,
  bytes,
  bytesMax,
  trouble,
}: JournalStats): Keeping {
  if (trouble !== undefined)
    return { canKeep: false, reason: `the journal takes nothing: ${trouble}` };
  if (entries < entriesMax && bytes < bytesMax) return { canKeep: true };
  const reason = `the journal is full: ${entries} of ${entriesMax} entries, ${bytes} of ${bytesMax} bytes`;
  return { canKeep: false, reason };
}

function startup({ consumption }: HttpContext): Health {
  const { isStarted } = consumption();
  return { status: isStarted ? 'ok' : 'starting', isGreen: isStarted, detail: {} };
}
