/** Reachability: a TCP connection (or one to a unix socket) to every endpoint, and nothing more. */
import { conditionOf } from '../redis/conditions.ts';
import { durationText } from './amounts.ts';
import { type Judged, ofCondition, pass } from './finding.ts';
import type { Check } from './scene.ts';
import { dial } from './socket.ts';

export interface Dialled {
  label: string;
  isPath: boolean;
  tookMs: number;
  peer?: string;
  error?: Error;
}

const SHARE_OF_DEADLINE = 0.9;
const DEADLINE_MS = 6000;

export const tcp: Check = {
  name: 'tcp',
  label: 'TCP',
  layer: 'way',
  deadlineMs: DEADLINE_MS,
  run: async ({ target, clock }) => {
    if (target === undefined) return [];
    const timeoutMs = Math.min(target.redis.connectTimeoutMs, DEADLINE_MS * SHARE_OF_DEADLINE);
    const dialled = await Promise.all(
      target.endpoints.map(async (endpoint): Promise<Dialled> => {
        const from = clock.now();
        const seen = { label: endpoint.label, isPath: endpoint.path !== undefined };
        try {
          const socket = await dial(endpoint, timeoutMs);
          const peer = socket.remoteAddress;
          socket.destroy();
          return { ...seen, tookMs: clock.now() - from, ...(peer === undefined ? {} : { peer }) };
        } catch (error) {
          return { ...seen, tookMs: clock.now() - from, error: error as Error };
        }
      }),
    );
    return judgeReach(dialled);
  },
};

/** One endpoint is enough where there are several: the others are a warning. */
export function judgeReach(dialled: readonly Dialled[]): Judged[] {
  const isReachable = dialled.some(({ error }) => error === undefined);
  return dialled.map(({ label, isPath, tookMs, peer, error }) => {
    if (error === undefined) {
      return pass(`${label} accepts connections`, `${peer ?? 'socket'} (${durationText(tookMs)})`);
    }
    const status = isReachable ? 'warn' : 'fail';
    const { code } = error as NodeJS.ErrnoException;
    // A name with several addresses: the message is empty, the reasons lie inside.
    const inner = error instanceof AggregateError ? (error.errors[0] as Error) : error;
    const evidence = `${inner.message || code} after ${durationText(tookMs)}`;
    if (code === 'EACCES') {
      return {
        ...ofCondition('refused', evidence, status),
        title: `This user may not open the socket ${label}`,
        remedy:
          'Give the user of this process read and write access to the socket (unixsocketperm).',
      };
    }
    const condition = conditionOf(inner) ?? 'refused';
    const finding = ofCondition(condition, evidence, status);
    if (condition === 'refused') {
      finding.title = isPath ? `Nothing listens at ${label}` : `${label} refuses connections`;
    } else if (condition === 'timeout') finding.title = `${label} cannot be reached in time`;
    return finding;
  });
}
