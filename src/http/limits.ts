/**
 * How often one address may ask: so that one caller cannot keep the service from the others, and
 * nobody can try tokens. Probes are never limited. The counts live in this process and are bounded.
 */
import fastifyRateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { RateLimitedError } from '../errors.ts';

/** Addresses that are counted at a time; the one that was not seen for longest is forgotten. */
const ADDRESSES_MAX = 10_000;
/** Wrong tokens of one address in a minute; more are answered 429. A person mistypes a few times. */
export const WRONG_TOKENS_PER_MINUTE_MAX = 20;

export interface Limits {
  /** Counts a wrong token of this caller. @throws RateLimitedError when there were too many */
  countWrongToken(request: FastifyRequest): Promise<void>;
}

/** Must be registered before the routes. `perSecondMax`: requests of one address in a second. */
export function registerLimits(
  app: FastifyInstance,
  perSecondMax: number,
  isProbe: (request: FastifyRequest) => boolean,
): Limits {
  app.register(fastifyRateLimit, {
    max: perSecondMax,
    timeWindow: 1000,
    cache: ADDRESSES_MAX,
    allowList: (request) => isProbe(request),
    errorResponseBuilder: (_request, { ttl }) => new RateLimitedError('requests', ttl),
    addHeaders: { 'x-ratelimit-limit': false, 'x-ratelimit-remaining': false },
  });
  let wrongTokens: ReturnType<FastifyInstance['createRateLimit']> | undefined;
  app.after(() => {
    wrongTokens = app.createRateLimit({ max: WRONG_TOKENS_PER_MINUTE_MAX, timeWindow: 60_000 });
  });
  return {
    async countWrongToken(request) {
      const count = await wrongTokens?.(request);
      if (count !== undefined && !count.isAllowed && count.isExceeded) {
        throw new RateLimitedError('wrong tokens', count.ttl);
      }
    },
  };
}
