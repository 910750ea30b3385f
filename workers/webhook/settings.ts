/** What the webhook worker reads of the environment. */
import { readFileSync } from 'node:fs';

export interface WebhookSettings {
  /** Signs webhooks: `whsec_…` or any base64 text; undefined: they are not signed. */
  secret: string | undefined;
  allowHttp: boolean;
  allowPrivate: boolean;
}

/** @throws Error that names the variable, when the secret cannot be used */
export function webhookSettings(
  env: Readonly<Record<string, string | undefined>>,
): WebhookSettings {
  const secret =
    env.WEBHOOK_SECRET ||
    (env.WEBHOOK_SECRET_FILE && readFileSync(env.WEBHOOK_SECRET_FILE, 'utf8').trim()) ||
    undefined;
  if (secret !== undefined && !/^(whsec_)?[A-Za-z0-9+/]+={0,2}$/.test(secret)) {
    throw new Error(
      'WEBHOOK_SECRET is not base64. Make one with: echo "whsec_$(openssl rand -base64 32)"',
    );
  }
  return {
    secret,
    allowHttp: isOn(env.WEBHOOK_ALLOW_HTTP),
    allowPrivate: isOn(env.WEBHOOK_ALLOW_PRIVATE),
  };
}

function isOn(word: string | undefined): boolean {
  return /^(true|1|yes|on)$/i.test(word ?? '');
}
