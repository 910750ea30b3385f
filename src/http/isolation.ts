/**
 * An operator keeps this replica from Redis and lets it back: the breaker, opened and released by hand.
 * Answers at once: nothing here waits for Redis.
 */
import type { FastifyInstance } from 'fastify';
import { InvalidInputError } from '../errors.ts';
import type { HttpContext } from './context.ts';

/** A line of the log and of the outage's record, not a story. */
const REASON_CHARS_MAX = 500;

export function registerIsolation(app: FastifyInstance, context: HttpContext): void {
  const { target, config } = context;
  const state = () => ({ replica: config.replica, ...target.state() });
  app.post('/v1/isolate', async (request) => {
    target.isolate(reasonIn(request.body));
    return state();
  });
  app.post('/v1/release', async () => {
    target.release();
    return state();
  });
}

/** The `reason` of a body; a request may come without one. @throws InvalidInputError */
function reasonIn(body: unknown): string | undefined {
  const reason = (body as { reason?: unknown } | null | undefined)?.reason;
  if (reason === undefined) return undefined;
  if (typeof reason === 'string' && reason.length <= REASON_CHARS_MAX) return reason;
  throw new InvalidInputError(
    'reason',
    `reason is no text of at most ${REASON_CHARS_MAX} characters`,
    'Say in a line why this replica is kept from Redis.',
  );
}
