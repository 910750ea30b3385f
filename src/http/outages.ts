/**
 * The records of outages over HTTP: the list, one of them, and its post-mortem. Read from the replica's
 * own disk, so it answers while Redis is away.
 */
import type { FastifyInstance } from 'fastify';
import { OutageNotFoundError } from '../errors.ts';
import {
  fateOf,
  findFleetIds,
  findOutages,
  recordsOfFleet,
  type StoredOutage,
} from '../outage/archive.ts';
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

  app.get<{ Params: OutageParams; Querystring: { fleet?: string } }>(
    '/v1/outages/:id/post-mortem',
    async (request, reply) => {
      const { id } = request.params;
      const isFleet = ['', '1', 'true'].includes(request.query.fleet ?? 'no');
      const { outages, problem } = isFleet
        ? await ofFleet(context, id)
        : { outages: [await find(context, id)] };
      reply.type(MARKDOWN_TYPE);
      const text = postMortem(outages, describeCondition, Date.now());
      return problem === undefined
        ? text
        : `${text}\nRecords of other replicas are left out: ${problem}.\n`;
    },
  );
}

/** The records of all replicas of the fleet's outage: `id` is its own, or that of an outage of this replica. */
async function ofFleet(
  context: HttpContext,
  id: string,
): Promise<{ outages: StoredOutage[]; problem?: string }> {
  const local = await context.outages();
  const fleetIds = findFleetIds(local, id);
  if (fleetIds.length > 1) throw new OutageNotFoundError(id, 'of a fleet', fleetIds);
  const [own] = fleetIds.length === 0 ? findOutages(local, id) : [];
  const fleetId = fleetIds[0] ?? own?.fleetId;
  if (own && fleetId === undefined) {
    return { outages: [own], problem: 'the replicas have agreed on no id for this outage' };
  }
  const { outages: shared, ...rest } = await context.fleetOutages(fleetId ?? id);
  const outages = recordsOfFleet(fleetId ?? id, local, shared);
  if (outages.length === 0) throw new OutageNotFoundError(id, 'of a fleet');
  return { outages, ...rest };
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
