/** What the webhook worker reads of the environment. */
import { readFileSync } from 'node:fs';

export interface WebhookSettings {
  /**
   * Signs webhooks: `whsec_…` or any base64 text; undefined: they are not signed. From a file it is read
   * at each use, so that changing it needs no restart. @throws Error when it cannot be used
   */
  readonly secret: string | undefined;
  allowHttp: boolean;
  allowPrivate: boolean;
}

/** @throws Error that names the variable, when the secret cannot be used */
export function webhookSettings(
  env: Readonly<Record<string, string | undefined>>,
): WebhookSettings {
  const file = env.WEBHOOK_SECRET ? undefined : env.WEBHOOK_SECRET_FILE || undefined;
  let secret = checked(env.WEBHOOK_SECRET || (file && readFileSync(file, 'utf8').trim()));
  return {
    get secret() {
      // While somebody replaces the file, the one that was known signs.
      const text = file && read(file);
      if (text) secret = checked(text);
      return secret;
    },
    allowHttp: isOn(env.WEBHOOK_ALLOW_HTTP),
    allowPrivate: isOn(env.WEBHOOK_ALLOW_PRIVATE),
  };
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function checked(secret: string | undefined): string | undefined {
  if (!secret) return undefined;
  if (/^(whsec_)?[A-Za-z0-9+/]+={0,2}$/.test(secret)) return secret;
  throw new Error(
    'WEBHOOK_SECRET is not base64. Make one with: echo "whsec_$(openssl rand -base64 32)"',
  );
}

function isOn(word: string | undefined): boolean {
  return /^(true|1|yes|on)$/i.test(word ?? '');
}
