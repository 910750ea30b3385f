/**
 * Who may ask. On loopback: only what was addressed to a loopback name, so that a web page which
 * rebinds its DNS name to 127.0.0.1, or posts across origins, cannot enqueue. Elsewhere: only who
 * has a token, or the cookie that a browser got for it; and from a browser only what was addressed to
 * a name of ours, for a port that a container publishes on loopback can be rebound to as well. Never compares secrets in a time that
 * depends on them.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import ipaddr from 'ipaddr.js';
import { AccessDeniedError } from '../errors.ts';
import { allows, type Need, SCOPES, type Scope } from './routes.ts';
import { scopeOfSession, type Tokens } from './session.ts';

export interface AccessRequest {
  method: string;
  headers: IncomingHttpHeaders;
}

export interface AccessOptions {
  /** The address that the server is bound to. */
  host: string;
  /** Names, beside loopback, under which browsers may ask. */
  allowedHosts?: readonly string[];
  /** Asked for wherever one is set. */
  tokens?: Tokens;
  /** The origin under which a proxy serves this service, e.g. `https://jobs.example`. */
  publicOrigin?: string | undefined;
  /** ms since the epoch; for the end of sessions. */
  wall?: () => number;
}

export interface Access {
  /** Whether a token is asked for. */
  readonly isLocked: boolean;
  /** Throws AccessDeniedError when Host, Origin or token are not as `need` asks. */
  check(request: AccessRequest, need: Need): void;
  /** What the caller may do; undefined: nothing. */
  scopeOf(headers: IncomingHttpHeaders): Scope | undefined;
  /** The scope of a token as a person typed it. */
  scopeOfToken(token: string): Scope | undefined;
  /** Whether a prober may see more than a status: always on loopback without a token. */
  maySeeDetail(headers: IncomingHttpHeaders): boolean;
  /** The tokens that are valid now. */
  readonly tokens: Tokens;
  /** From now on these are valid, and the sessions of those that are not are over. */
  renew(tokens: Tokens): void;
}

/** Methods that change nothing; a link from another page may use them. */
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** `__Host-`: no other host and no plain connection may set it; browsers want TLS for that name. */
export function cookieNameOf(publicOrigin: string | undefined): string {
  return isTls(publicOrigin) ? '__Host-holdfast' : 'holdfast';
}

export function isTls(publicOrigin: string | undefined): boolean {
  return publicOrigin?.startsWith('https:') ?? false;
}

/** Whether only this machine can reach a server bound to `host`. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase();
  if (bare === 'localhost' || bare.endsWith('.localhost')) return true;
  if (!ipaddr.isValid(bare)) return false;
  return ipaddr.process(bare).range() === 'loopback';
}

export function accessRules(options: AccessOptions): Access {
  return new AccessRules(options);
}

class AccessRules implements Access {
  readonly #onLoopback: boolean;
  readonly #publicOrigin: string | undefined;
  readonly #allowedHosts: ReadonlySet<string>;
  readonly #cookie: string;
  readonly #wall: () => number;
  #tokens: Tokens = {};
  #digests: [Scope, Buffer][] = [];

  constructor(options: AccessOptions) {
    const { host, allowedHosts = [], tokens = {}, publicOrigin, wall = Date.now } = options;
    this.#onLoopback = isLoopback(host);
    this.#publicOrigin = publicOrigin;
    this.#allowedHosts = new Set(allowedHosts.map((name) => name.toLowerCase()));
    this.#cookie = cookieNameOf(publicOrigin);
    this.#wall = wall;
    this.renew(tokens);
  }

  get isLocked(): boolean {
    return this.#digests.length > 0;
  }

  get tokens(): Tokens {
    return this.#tokens;
  }

  renew(tokens: Tokens): void {
    this.#tokens = { ...tokens };
    this.#digests = SCOPES.flatMap((scope): [Scope, Buffer][] => {
      const token = tokens[scope];
      return token === undefined ? [] : [[scope, digest(token)]];
    });
  }

  check(request: AccessRequest, need: Need): void {
    const { headers, method } = request;
    if (this.#onLoopback || isOfBrowser(headers)) this.#checkAddressee(headers);
    this.#checkOrigin(method, headers);
    if (need === 'open' || need === 'probe') return;
    const scope = this.scopeOf(headers);
    if (scope === undefined) {
      throw new AccessDeniedError(
        'unauthenticated',
        headers.authorization === undefined
          ? 'This service wants a token.'
          : 'The token is not one of this service.',
        'Send "Authorization: Bearer <HTTP_TOKEN>"; a browser signs in at /login.',
      );
    }
    if (!allows(scope, need)) {
      throw new AccessDeniedError(
        'forbidden',
        `This token may ${scope}, but not ${need}.`,
        need === 'write' ? 'Use HTTP_WRITE_TOKEN or HTTP_TOKEN.' : 'Use HTTP_TOKEN.',
      );
    }
    // A token in a header was put there on purpose; a cookie comes along whoever made the browser ask.
    const isByCookie = this.isLocked && headers.authorization === undefined;
    if (isByCookie && !SAFE_METHODS.has(method)) checkIsFromOwnPage(headers);
  }

  scopeOf(headers: IncomingHttpHeaders): Scope | undefined {
    if (!this.isLocked) return this.#onLoopback ? 'administer' : undefined;
    if (headers.authorization !== undefined) {
      const given = /^Bearer +(\S+) *$/i.exec(headers.authorization)?.[1];
      return given === undefined ? undefined : this.scopeOfToken(given);
    }
    const session = cookieOf(headers.cookie, this.#cookie);
    if (session === undefined) return undefined;
    return scopeOfSession(session, this.#tokens, this.#wall());
  }

  scopeOfToken(token: string): Scope | undefined {
    const given = digest(token);
    let found: Scope | undefined;
    // Each is compared, whichever it is.
    for (const [scope, expected] of this.#digests) {
      if (timingSafeEqual(given, expected)) found = scope;
    }
    return found;
  }

  maySeeDetail(headers: IncomingHttpHeaders): boolean {
    return this.scopeOf(headers) !== undefined;
  }

  #checkAddressee({ host }: IncomingHttpHeaders): void {
    const name = host === undefined ? undefined : hostNameOf(host);
    if (name !== undefined && (isLoopback(name) || this.#allowedHosts.has(name))) return;
    if (this.#publicOrigin !== undefined && host === new URL(this.#publicOrigin).host) return;
    // An address cannot be rebound: what was asked for is what answers.
    if (!this.#onLoopback && name !== undefined && isAddress(name)) return;
    const addressee = JSON.stringify(host ?? '');
    throw new AccessDeniedError(
      'forbidden',
      this.#onLoopback
        ? `The request is addressed to ${addressee}, but this service listens on loopback only.`
        : `A browser asks for ${addressee}, which is no name that this service knows as its own.`,
      this.#onLoopback
        ? 'Ask http://127.0.0.1 or http://localhost; to serve other names set HTTP_HOST and HTTP_TOKEN, or HTTP_PUBLIC_URL for a proxy.'
        : 'Ask for its address, or set HTTP_PUBLIC_URL (behind a proxy) or HTTP_ALLOWED_HOSTS.',
    );
  }

  #checkOrigin(method: string, headers: IncomingHttpHeaders): void {
    const { origin } = headers;
    const isOwn =
      origin === undefined || origin === this.#publicOrigin || isSameOrigin(origin, headers.host);
    if (!isOwn) {
      throw new AccessDeniedError(
        'forbidden',
        `A web page of ${JSON.stringify(origin)} may not ask this service.`,
        'Call it from a server, or from a page that the service itself serves.',
      );
    }
    const site = headers['sec-fetch-site'];
    if (site === undefined || site === 'same-origin' || site === 'none') return;
    // A link to here may be followed; a picture or a script of ours in another page may not be loaded:
    // it could tell what is here, and keep streams open.
    const mode = headers['sec-fetch-mode'];
    const isLink = SAFE_METHODS.has(method) && (mode === undefined || mode === 'navigate');
    if (!isLink) throw fromAnotherSite();
  }
}

/** Every browser says where a change comes from; a request that does not say is no page of ours. */
function checkIsFromOwnPage(headers: IncomingHttpHeaders): void {
  if (headers.origin === undefined && headers['sec-fetch-site'] !== 'same-origin') {
    throw fromAnotherSite();
  }
}

function fromAnotherSite(): AccessDeniedError {
  return new AccessDeniedError(
    'forbidden',
    'A web page of another site may not ask this service.',
    'Call it from a server, or from a page that the service itself serves.',
  );
}

/** The value of the cookie `name`; undefined also when it is no text. */
function cookieOf(header: string | undefined, name: string): string | undefined {
  const pairs = (header ?? '').split(';').map((pair) => pair.trim());
  const value = pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
  try {
    return value === undefined ? undefined : decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

/** Equal lengths for the comparison, whatever was sent. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function isSameOrigin(origin: string, host: string | undefined): boolean {
  if (!URL.canParse(origin)) return false;
  const url = new URL(origin);
  return host !== undefined && /^https?:$/.test(url.protocol) && url.host === host.toLowerCase();
}

/**
 * Whether a browser sends this: each request of one has a language, and most where they come from.
 * Node's `fetch` says `*`, and `cors` for a mode. A program that sends such headers is taken for one.
 */
function isOfBrowser(headers: IncomingHttpHeaders): boolean {
  const { origin, referer, 'accept-language': language } = headers;
  if (origin !== undefined || referer !== undefined) return true;
  if (headers['sec-fetch-site'] !== undefined || headers['sec-fetch-dest'] !== undefined)
    return true;
  return language !== undefined && language !== '*';
}

function isAddress(name: string): boolean {
  return ipaddr.isValid(name.replace(/^\[|\]$/g, ''));
}

function hostNameOf(host: string): string | undefined {
  const url = `http://${host}`;
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}
