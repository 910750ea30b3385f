/**
 * `webhook`: tells another platform of an event. Signed as Standard Webhooks asks (the same id for
 * every try), tried again with full jitter within one attempt, never to an address that is not public
 * unless that is allowed.
 */
import { type Config, defineWorker } from 'holdfast';
import { z } from 'zod';
import { currentSecret } from './shared/secret.ts';
import { AddressRefused } from './webhook/address.ts';
import { ComeLater, type Delivery, DeliveryRefused, deliver, saying } from './webhook/deliver.ts';

/** A receiver that asks for patience at every try is given up on when the job is older, ms. */
const PATIENCE_MS = 3 * 24 * 60 * 60 * 1000;

const schema = z.object({
  url: z.url({ protocol: /^https?$/ }),
  event: z.string().min(1).max(256),
  payload: z.unknown(),
});

export default defineWorker<z.infer<typeof schema>, Delivery, Config['webhook']>({
  queue: 'webhook',
  schema,
  attempts: 5,
  backoff: { type: 'exponential', delay: 10_000, jitter: 1 },
  timeout: 120_000,
  setup({ webhook }) {
    const secret = currentSecret(webhook.secret, webhook.secretFile);
    return {
      ...webhook,
      get secret() {
        return secret();
      },
    };
  },
  async handler(job, ctx) {
    const { url, event, payload } = job.data;
    const body = JSON.stringify({ type: event, timestamp: new Date(job.timestamp), data: payload });
    const target = new URL(url);
    const delivery = await deliver({
      url: target,
      // A header holds ASCII only; a job's id may be anything.
      id: `msg_${encodeURIComponent((job.id ?? '').toWellFormed())}`,
      body,
      settings: ctx.resources,
      signal: ctx.signal,
      onRetry: (why, delayMs) => ctx.log.warn({ event: 'webhook.retried', delayMs }, why),
    }).catch((error: unknown) => {
      if (error instanceof AddressRefused || error instanceof DeliveryRefused) {
        throw ctx.fail(error.message);
      }
      if (!(error instanceof ComeLater) || Date.now() - job.timestamp > PATIENCE_MS) throw error;
      const delayMs = error.afterMs;
      ctx.log.warn({ event: 'webhook.postponed', delayMs }, error.message);
      throw ctx.retryAfter(delayMs);
    });
    if (delivery.isRefused) {
      ctx.fail(`it does not take this event: ${saying(target, delivery.status, delivery.answer)}`);
    }
    return delivery;
  },
});
