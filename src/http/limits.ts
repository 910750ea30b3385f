/**
 * How often one address may ask: so that one caller cannot keep the service from the others, and
 * nobody can try tokens. Probes are never limited. The counts live in this process and are bounded.
 */
import fastifyRateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { RateLimitedError } from '../errors.ts';
import type { Instant } from '../time.ts';

/** Addresses that are counted at a time; the one that was not seen for longest is forgotten. */
const ADDRESSES_MAX = 10_000;
/** Wrong tokens of one address in a minute; more are answered 429. A person mistypes a few times. */
export const WRONG_TOKENS_PER_MINUTE_MAX = 20;
const WRONG_TOKENS_MS = 60_000;

export interface Limits {
  readonly wrongTokens: WrongTokens;
  tooManyWrongTokens(ip: string): RateLimitedError;
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
  const wrongTokens = new WrongTokens(() => performance.now());
  return {
    wrongTokens,
    tooManyWrongTokens: (ip) => new RateLimitedError('wrong tokens', wrongTokens.endsInMs(ip)),
  };
}

/**
 * Wrong tokens by address, each in a window that begins with its first. Asked *before* a token is
 * compared: an answer that tells right from wrong, also to who has used up the tries, is a try.
 */
export class WrongTokens {
  readonly #now: () => Instant;
  readonly #byAddress = new Map<string, { count: number; endsAt: Instant }>();

  constructor(now: () => Instant) {
    this.#now = now;
  }

  /** Whether no further token of this address may be looked at. */
  isSpent(ip: string): boolean {
    return (this.#windowOf(ip)?.count ?? 0) >= WRONG_TOKENS_PER_MINUTE_MAX;
  }

  count(ip: string): void {
    const window = this.#windowOf(ip) ?? { count: 0, endsAt: this.#now() + WRONG_TOKENS_MS };
    window.count += 1;
    // Last in the map is who was seen last.
    this.#byAddress.delete(ip);
    this.#byAddress.set(ip, window);
    if (this.#byAddress.size <= ADDRESSES_MAX) return;
    const [longestAgo] = this.#byAddress.keys();
    if (longestAgo !== undefined) this.#byAddress.delete(longestAgo);
  }

  /** ms until tokens of this address are looked at again. */
  endsInMs(ip: string): number {
    return Math.max(0, (this.#windowOf(ip)?.endsAt ?? 0) - this.#now());
  }

  #windowOf(ip: string): { count: number; endsAt: Instant } | undefined {
    const window = this.#byAddress.get(ip);
    if (window === undefined || this.#now() < window.endsAt) return window;
    this.#byAddress.delete(ip);
    return undefined;
  }
}
