/**
 * What is told of a replica, and how the list of all of them is read: by a service that is asked over
 * HTTP, or by the command line straight from Redis. Reads only.
 */
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import type { TargetState } from './target.ts';

/** More replicas than this no list shows; `total` says how many there are. */
export const REPLICAS_MAX = 1000;
/** Queues of a replica that its entry names. */
const QUEUES_MAX = 100;

const queueSchema = z.object({
  queue: z.string(),
  concurrency: z.number(),
  running: z.number(),
  isConsuming: z.boolean(),
  reason: z.string().optional(),
});

const replicaSchema = z.object({
  /** Of this life of the process; the name may be another's too. */
  id: z.string(),
  replica: z.string(),
  version: z.string(),
  host: z.string(),
  pid: z.number(),
  /** `degraded`: it runs, but Redis is away or it does not take the jobs that it should. */
  state: z.enum(['running', 'degraded', 'shutting-down']),
  /** Why it is degraded. */
  reason: z.string().optional(),
  breaker: z.string(),
  condition: z.string().optional(),
  http: z.string().optional(),
  /** Since when the process runs, ISO 8601. */
  startedAt: z.string(),
  /** Its last sign of life, ISO 8601. */
  seenAt: z.string(),
  queues: z.array(queueSchema),
});

export type Replica = z.infer<typeof replicaSchema>;

/** A replica as it describes itself. */
export type ReplicaSelf = Omit<Replica, 'id' | 'seenAt'>;

export interface FleetView {
  replicas: Replica[];
  /** All replicas that live are in the list, as they are now. */
  isComplete: boolean;
  /** Why not, and from when the others' entries are. */
  reason?: string;
}

export function replicasKey(prefix: string): string {
  return `${prefix}:holdfast:replicas`;
}

export function replicaKey(prefix: string, id: string): string {
  return `${prefix}:holdfast:replica:${id}`;
}

export interface Life {
  isStopping: boolean;
  target: Pick<TargetState, 'breaker' | 'condition'>;
  queues: readonly {
    queue: string;
    isConsuming: boolean;
    reason: string | undefined;
    concurrency: number;
    running: number;
  }[];
}

/** State and queues of a replica, from what its parts say. A queue left to others is none of its. */
export function describeLife(
  life: Life,
): Pick<Replica, 'state' | 'breaker' | 'queues'> & { reason?: string; condition?: string } {
  const { breaker, condition } = life.target;
  const queues = life.queues
    .filter(({ concurrency }) => concurrency > 0)
    .slice(0, QUEUES_MAX)
    .map(({ queue, concurrency, running, isConsuming, reason }) => ({
      queue,
      concurrency,
      running,
      isConsuming,
      ...(reason === undefined ? {} : { reason }),
    }));
  const told = { breaker, queues, ...(condition === undefined ? {} : { condition }) };
  if (life.isStopping) return { ...told, state: 'shutting-down' };
  if (breaker !== 'closed') {
    return { ...told, state: 'degraded', reason: `Redis is away (${condition ?? breaker})` };
  }
  const idle = queues.filter(({ isConsuming }) => !isConsuming);
  if (idle.length === 0) return { ...told, state: 'running' };
  const reason = idle.map(({ queue, reason: why }) => `${queue}: ${why ?? 'idle'}`).join(', ');
  return { ...told, state: 'degraded', reason: `takes no jobs of ${reason}` };
}

/**
 * All replicas whose key lives, by name.
 * @throws what Redis or the network says
 */
export async function readFleet(client: Redis | Cluster, prefix: string): Promise<Replica[]> {
  const ids = await client.zrevrange(replicasKey(prefix), 0, REPLICAS_MAX - 1);
  // One by one: in a Cluster their keys lie on different nodes.
  const texts = await Promise.all(ids.map((id) => client.get(replicaKey(prefix, id))));
  return texts
    .map(parseReplica)
    .filter((replica) => replica !== undefined)
    .sort((a, b) => a.replica.localeCompare(b.replica) || a.pid - b.pid);
}

function parseReplica(text: string | null): Replica | undefined {
  if (text === null) return undefined;
  try {
    return replicaSchema.parse(JSON.parse(text));
  } catch {
    // Of a version that writes it otherwise, or not ours.
    return undefined;
  }
}

/** The list as a replica tells it: itself as it is, the others as they were seen last. */
export function fleetView(
  self: Replica,
  seen: { replicas: readonly Replica[]; wall: number } | undefined,
  isComplete: boolean,
  condition: string | undefined,
): FleetView {
  const others = (seen?.replicas ?? []).filter(({ id }) => id !== self.id);
  const replicas = [self, ...others];
  if (isComplete) return { replicas, isComplete };
  const when = seen ? `; they were seen last at ${new Date(seen.wall).toISOString()}` : '';
  return {
    replicas,
    isComplete,
    reason: `What other replicas do is not known: Redis is away (${condition ?? 'unknown'})${when}.`,
  };
}
