/**
 * What the tokens must be like before the service listens where others reach it: an open door to the
 * network needs a lock, and a lock that nobody can guess. Refuses to start rather than serve strangers.
 * Pure.
 */
import type { Config } from '../config.ts';
import { ConfigError, type ConfigProblem } from '../errors.ts';
import { isLoopback } from './access.ts';

/** Even at the highest rate that one address is allowed, this is not guessed in a lifetime. */
const TOKEN_CHARS_MIN = 16;
/** Printed in earlier versions of docker-compose.yml: everybody knows it. */
const KNOWN_TOKENS: ReadonlySet<string> = new Set(['for-development-only']);
const MAKE_ONE = 'make one with: openssl rand -hex 32';

/** @throws ConfigError when the service can be reached from elsewhere and is not protected */
export function assertProtected(http: Config['http']): void {
  const { host, publicUrl } = http;
  if (isLoopback(host) && publicUrl === undefined) return;
  const where = isLoopback(host) ? `HTTP_PUBLIC_URL=${publicUrl}` : `HTTP_HOST=${host}`;
  const reached = `${where} can be reached from other machines`;
  const problems: ConfigProblem[] = [];
  if (http.token === undefined || http.token === '') {
    const allowed = `${reached}: set HTTP_TOKEN (or HTTP_TOKEN_FILE), or only HTTP_HOST=127.0.0.1`;
    problems.push({ where: 'HTTP_TOKEN', value: 'not set', allowed });
  }
  for (const [name, token] of [
    ['HTTP_TOKEN', http.token],
    ['HTTP_WRITE_TOKEN', http.writeToken],
    ['HTTP_READ_TOKEN', http.readToken],
  ] as const) {
    if (token === undefined || token === '') continue;
    if (KNOWN_TOKENS.has(token)) {
      const allowed = `${reached}: a token of your own; ${MAKE_ONE}`;
      problems.push({ where: name, value: 'one that everybody knows', allowed });
    } else if (token.length < TOKEN_CHARS_MIN) {
      const allowed = `${reached}: at least ${TOKEN_CHARS_MIN} characters; ${MAKE_ONE}`;
      problems.push({ where: name, value: `${token.length} characters`, allowed });
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
}
