/**
 * What BullMQ's `RedisQueueBackend` takes for its connection: always the present generation's client,
 * and while there is none one that answers every command with a typed error.
 */
import type { IRedisClient } from 'bullmq';
import type { ServerIdentity } from '../redis/identity.ts';

export interface ConnectionSource {
  client(): IRedisClient | undefined;
  identity(): ServerIdentity | undefined;
  unavailable(): Error;
}

/** BullMQ asks the version to choose commands; before the first answer the oldest supported fits. */
const VERSION_UNKNOWN = '6.2.0';

export function bullmqConnection(source: ConnectionSource): unknown {
  const offline = offlineClient(source.unavailable);
  return {
    get client() {
      return Promise.resolve(source.client() ?? offline);
    },
    get redisVersion() {
      return source.identity()?.version || VERSION_UNKNOWN;
    },
    get databaseType() {
      return source.identity()?.flavour ?? 'redis';
    },
    // Fractions of a second are understood since Redis 6; 1 ms only since 7.0.8.
    capabilities: { canDoubleTimeout: true, canBlockFor1Ms: false },
    on() {
      return this;
    },
  };
}

/** Rejects every command; its pipelines reject when they are executed. */
function offlineClient(error: () => Error): unknown {
  return new Proxy(
    {},
    {
      get(_target, property) {
        // Not a promise, or `await` would call it.
        if (property === 'then') return undefined;
        if (property === '__bullmq_iredis') return true;
        if (property === 'pipeline' || property === 'multi') {
          return () => ({
            eval: () => undefined,
            evalsha: () => undefined,
            exec: () => Promise.reject(error()),
          });
        }
        return () => Promise.reject(error());
      },
    },
  );
}
