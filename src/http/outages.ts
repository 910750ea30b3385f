/**
 * The records of outages over HTTP: the list, one of them, and its post-mortem. Read from the replica's
 * own disk, so it answers while Redis is away.
 */
import type { FastifyInstance } from 'fastify';
import { OutageNotFoundError } from '../errors.ts';
import { fateOf, findOutages, type StoredOutage } from '../outage/archive.ts';
import { postMortem } from '../outage/post-mortem.ts';
import { conditionAnchor, describeCondition } from '../redis/condition-catalogue.ts';
import type { HttpContext } from './context.ts';

interface OutageParams {
  id: string;
}

const MARKDOWN_TYPE = 'text/markdown; charset=utf-8';
/** A list is for an overview; a single record has everything. */
const LIST_MAX = 200;

export function registerOutages(app: FastifyInstance, context: HttpContext): void {
  app.get('/v1/outages', async () => {
    const outages = await context.outages();
    const now = Date.now();
    return { outages: outages.slice(0, LIST_MAX).map((outage) => outageView(outage, now)) };
  });

  app.get<{ Params: OutageParams }>('/v1/outages/:id', async (request) => {
    const outage = await find(context, request.params.id);
    const names = [...new Set(outage.conditions.map(({ name }) => name))];
    const catalogue = names.map((name) => {
      const { cause, meaning, evidence, remedy } = describeCondition(name);
      return { name, cause, meaning, evidence, remedy, docs: conditionAnchor(name) };
    });
    return { ...outageView(outage, Date.now()), catalogue };
  });

  app.get<{ Params: OutageParams }>('/v1/outages/:id/post-mortem', async (request, reply) => {
    const outage = await find(context, request.params.id);
    reply.type(MARKDOWN_TYPE);
    return postMortem([outage], describeCondition, Date.now());
  });
}

/** A record for others: without what is of use on its host only, and with what became of it. */
export function outageView(outage: StoredOutage, now: number) {
  const { commandLine: _started, format: _format, interrupted: _mark, ...shown } = outage;
  return { ...shown, fate: fateOf(outage, now) };
}

async function find(context: HttpContext, id: string): Promise<StoredOutage> {
  const found = findOutages(await context.outages(), id);
  const [outage] = found;
  if (outage !== undefined && found.length === 1) return outage;
  throw new OutageNotFoundError(
    id,
    'of this replica',
    found.map((other) => other.id),
  );
}
