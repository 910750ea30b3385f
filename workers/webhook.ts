/**
 * `webhook`: tells another platform of an event. Signed as Standard Webhooks asks (the same id for
 * every try), tried again with full jitter within one attempt, never to an address that is not public
 * unless that is allowed.
 */
import { defineWorker } from 'holdfast';
import { z } from 'zod';
import { type Delivery, deliver } from './webhook/deliver.ts';
import { type WebhookSettings, webhookSettings } from './webhook/settings.ts';

const schema = z.object({
  url: z.url({ protocol: /^https?$/ }),
  event: z.string().min(1).max(256),
  payload: z.unknown(),
});

export default defineWorker<z.infer<typeof schema>, Delivery, WebhookSettings>({
  queue: 'webhook',
  schema,
  attempts: 5,
  backoff: { type: 'exponential', delay: 10_000, jitter: 1 },
  timeout: 120_000,
  setup: () => webhookSettings(process.env),
  async handler(job, ctx) {
    const { url, event, payload } = job.data;
    const body = JSON.stringify({ type: event, timestamp: new Date(job.timestamp), data: payload });
    const delivery = await deliver({
      url: new URL(url),
      id: `msg_${job.id}`,
      body,
      settings: ctx.resources,
      signal: ctx.signal,
      onRetry: (why, delayMs) => ctx.log.warn({ event: 'webhook.retried', delayMs }, why),
    });
    if (delivery.isRefused) {
      ctx.fail(`${url} answered ${delivery.status}: it does not take this event.`);
    }
    return delivery;
  },
});
