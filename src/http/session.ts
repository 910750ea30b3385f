/**
 * What a browser gets for a token: a signed note of its scope and its end. It can be checked by every
 * replica that has the same tokens, and is worth nothing once its token was changed. Holds no token.
 */
import { createHmac } from 'node:crypto';
import { fastifyCookie } from '@fastify/cookie';
import { SCOPES, type Scope } from './routes.ts';

/** A shift; then the token is asked for again. */
export const SESSION_SECONDS = 12 * 60 * 60;

export type Tokens = Readonly<Partial<Record<Scope, string | undefined>>>;

/** The cookie's value for who has shown the token of `scope`. `nowMs`: ms since the epoch. */
export function sessionOf(scope: Scope, tokens: Tokens, nowMs: number): string {
  const ends = Math.floor(nowMs / 1000) + SESSION_SECONDS;
  return fastifyCookie.sign(`${scope}.${ends}`, keyOf(tokens[scope] ?? ''));
}

/** The scope of a cookie's value; undefined when it is forged, over, or of a token that was changed. */
export function scopeOfSession(value: string, tokens: Tokens, nowMs: number): Scope | undefined {
  const [name, ends] = value.split('.', 2);
  const scope = SCOPES.find((known) => known === name);
  const token = scope && tokens[scope];
  if (token === undefined) return undefined;
  const { valid } = fastifyCookie.unsign(value, keyOf(token));
  return valid && Number(ends) * 1000 > nowMs ? scope : undefined;
}

/** One key per purpose: a signature says nothing about the token itself. */
function keyOf(token: string): string {
  return createHmac('sha256', token).update('holdfast session 1').digest('hex');
}
