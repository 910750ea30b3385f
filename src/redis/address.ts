/**
 * Redis addresses as people write them: `redis://`, `rediss://`, `unix://`. Takes them apart, and
 * makes them safe to show. Nothing here may put a password into a message.
 */
import { RedisUrlError } from '../errors.ts';

export interface RedisAddress {
  /** Either a path of a unix socket, or host and port. */
  path: string | undefined;
  host: string | undefined;
  port: number | undefined;
  username: string | undefined;
  password: string | undefined;
  db: number | undefined;
  tls: boolean;
}

const DEFAULT_PORT = 6379;
const HIDDEN = '***';

/** @throws RedisUrlError, with the password hidden */
export function parseRedisUrl(text: string): RedisAddress {
  const url = URL.parse(text);
  if (url === null) throw invalid(text, 'is not a URL');
  const credentials = {
    username: decoded(url.username),
    password: decoded(url.password),
  };
  if (url.protocol === 'unix:') {
    const path = decoded(url.pathname);
    if (path === undefined || path === '/') throw invalid(text, 'names no socket');
    // A second slash too few (`unix://tmp/x.sock`) makes the first folder a host name.
    if (url.hostname !== '') throw invalid(text, 'needs an absolute path: unix:///path/to.sock');
    const db = database(text, url.searchParams.get('db') ?? '');
    return { ...credentials, path, host: undefined, port: undefined, db, tls: false };
  }
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') {
    throw invalid(text, `starts with ${url.protocol}`);
  }
  return {
    ...credentials,
    path: undefined,
    host: url.hostname === '' ? 'localhost' : url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? DEFAULT_PORT : Number(url.port),
    db: database(text, url.pathname.slice(1) || (url.searchParams.get('db') ?? '')),
    tls: url.protocol === 'rediss:',
  };
}

/** The address without its password, for logs and errors; also for text that is not a URL. */
export function redactRedisUrl(text: string): string {
  const url = URL.parse(text);
  const isOurs = url !== null && /^(rediss?|unix):$/.test(url.protocol);
  // An @ in the path: a password with an unencoded slash was cut in two by the parser.
  if (!isOurs || /@/.test(url.pathname + url.search + url.hash)) {
    // Whatever stands before the last @ may be a credential.
    return text.replace(/^([a-z+]*:\/\/)?.*@/i, (_all, scheme = '') => `${scheme}${HIDDEN}@`);
  }
  if (url.password !== '') url.password = HIDDEN;
  for (const name of [...url.searchParams.keys()]) {
    if (/pass|secret|token/i.test(name)) url.searchParams.set(name, HIDDEN);
  }
  return url.href;
}

/** Whether both lead to the same database of the same server, whoever asks. @throws RedisUrlError */
export function isSameAddress(one: string, other: string): boolean {
  const place = (text: string): string => {
    const { path, host, port, db = 0, tls } = parseRedisUrl(text);
    return JSON.stringify([path, host, port, db, tls]);
  };
  return place(one) === place(other);
}

function database(text: string, part: string): number | undefined {
  if (part === '') return undefined;
  if (!/^\d{1,5}$/.test(part)) throw invalid(text, 'has a database that is not a number');
  return Number(part);
}

function decoded(part: string): string | undefined {
  if (part === '') return undefined;
  try {
    return decodeURIComponent(part);
  } catch {
    // A lone % in a password that nobody encoded: taken as it stands.
    return part;
  }
}

function invalid(text: string, what: string): RedisUrlError {
  return new RedisUrlError(redactRedisUrl(text), what);
}
