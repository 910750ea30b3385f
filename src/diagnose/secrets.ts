/**
 * Makes sure that no secret of the configuration stands in what the doctor says, whatever a library or
 * a server has put into a message: every URL's credentials go, and every secret value itself. Pure.
 */
import type { Config } from '../config.ts';
import { redactText } from '../redaction.ts';
import { parseRedisUrl } from '../redis/address.ts';
import { settings } from '../settings.ts';

const HIDDEN = '***';
/** A shorter value would hide parts of ordinary words; URLs hide theirs whatever its length. */
const CHARS_MIN = 4;

/** Replaces each secret in a text by `***`. */
export function hider(secrets: readonly (string | undefined)[]): (text: string) => string {
  const shapes = new Set(
    secrets
      .filter((secret) => secret !== undefined && secret.length >= CHARS_MIN)
      .flatMap((secret) => [
        secret!,
        encodeURIComponent(secret!),
        JSON.stringify(secret).slice(1, -1),
      ]),
  );
  // The longest first: one secret may be the beginning of another.
  const ordered = [...shapes].sort((a, b) => b.length - a.length);
  return (text) =>
    ordered.reduce((hidden, secret) => hidden.replaceAll(secret, HIDDEN), redactText(text));
}

/** The secrets of a valid configuration. */
export function secretsOf(config: Config): (string | undefined)[] {
  const { redis, http, faq, webhook } = config;
  return [
    passwordIn(redis.url),
    redis.password,
    redis.sentinelPassword,
    http.token,
    http.writeToken,
    http.readToken,
    faq.llm?.apiKey,
    webhook.secret,
  ];
}

/** The secrets of an environment that may make no valid configuration. */
export function secretsOfEnvironment(env: Readonly<Record<string, string | undefined>>): string[] {
  const found: string[] = [];
  for (const [name, setting] of Object.entries(settings)) {
    const value = env[name];
    if (!setting.secret || value === undefined) continue;
    // An address is to be seen; only what it holds is not.
    const secret = name === 'REDIS_URL' ? passwordIn(value) : value;
    if (secret !== undefined) found.push(secret);
  }
  return found;
}

function passwordIn(url: string | undefined): string | undefined {
  if (url === undefined) return undefined;
  try {
    return parseRedisUrl(url).password;
  } catch {
    return undefined;
  }
}
