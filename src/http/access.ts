/**
 * Who may ask. On loopback: only what was addressed to a loopback name, so that a web page which
 * rebinds its DNS name to 127.0.0.1, or posts across origins, cannot enqueue. Elsewhere: only who
 * has the token. Never compares secrets in a time that depends on them.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import ipaddr from 'ipaddr.js';
import { AccessDeniedError } from '../errors.ts';

export interface AccessRequest {
  method: string;
  headers: IncomingHttpHeaders;
}

export interface Access {
  /** Throws AccessDeniedError when the request's Host, Origin or token is not as it must be. */
  check(request: AccessRequest): void;
  /** The same without the token, for the probes of an orchestrator. */
  checkSource(request: AccessRequest): void;
  /** Whether a prober may see more than a status: always on loopback without a token. */
  maySeeDetail(headers: IncomingHttpHeaders): boolean;
}

/** Methods that change nothing; a link from another page may use them. */
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Whether only this machine can reach a server bound to `host`. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase();
  if (bare === 'localhost' || bare.endsWith('.localhost')) return true;
  if (!ipaddr.isValid(bare)) return false;
  return ipaddr.process(bare).range() === 'loopback';
}

/** The rules for a server bound to `host`; `token` is asked for wherever one is set. */
export function accessRules(host: string, token: string | undefined): Access {
  const onLoopback = isLoopback(host);
  const expected = token === undefined ? undefined : digest(token);

  const hasToken = (headers: IncomingHttpHeaders): boolean => {
    if (expected === undefined) return true;
    const given = /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1];
    return given !== undefined && timingSafeEqual(digest(given), expected);
  };

  const checkSource = ({ method, headers }: AccessRequest): void => {
    if (onLoopback) checkAddressee(headers);
    checkOrigin(method, headers);
  };

  return {
    checkSource,
    check(request) {
      checkSource(request);
      const { headers } = request;
      if (!hasToken(headers)) {
        throw new AccessDeniedError(
          'unauthenticated',
          headers.authorization === undefined
            ? 'This service wants a token.'
            : 'The token is not the one of this service.',
          'Send "Authorization: Bearer <HTTP_TOKEN>".',
        );
      }
    },
    maySeeDetail: (headers) => (onLoopback || expected !== undefined) && hasToken(headers),
  };
}

/** Equal lengths for the comparison, whatever was sent. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function checkAddressee(headers: IncomingHttpHeaders): void {
  const host = headers.host;
  const name = host === undefined ? undefined : hostNameOf(host);
  if (name !== undefined && isLoopback(name)) return;
  throw new AccessDeniedError(
    'forbidden',
    `The request is addressed to ${JSON.stringify(host ?? '')}, but this service listens on loopback only.`,
    'Ask http://127.0.0.1 or http://localhost; to serve other names set HTTP_HOST and HTTP_TOKEN.',
  );
}

function checkOrigin(method: string, headers: IncomingHttpHeaders): void {
  const origin = headers.origin;
  if (origin !== undefined && !isSameOrigin(origin, headers.host)) {
    throw new AccessDeniedError(
      'forbidden',
      `A web page of ${JSON.stringify(origin)} may not ask this service.`,
      'Call it from a server, or from a page that the service itself serves.',
    );
  }
  const site = headers['sec-fetch-site'];
  if (!SAFE_METHODS.has(method) && site !== undefined) {
    if (site === 'same-origin' || site === 'none') return;
    throw new AccessDeniedError(
      'forbidden',
      'A web page of another site may not ask this service.',
      'Call it from a server, or from a page that the service itself serves.',
    );
  }
}

function isSameOrigin(origin: string, host: string | undefined): boolean {
  if (!URL.canParse(origin)) return false;
  const url = new URL(origin);
  return host !== undefined && /^https?:$/.test(url.protocol) && url.host === host.toLowerCase();
}

function hostNameOf(host: string): string | undefined {
  const url = `http://${host}`;
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}
