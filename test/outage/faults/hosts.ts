/**
 * Loaded first by workers of rows about names: names below `.matrix.test` resolve to what a file says
 * at that moment, or not at all.
 */
import dns from 'node:dns';
import { readFileSync } from 'node:fs';

const original = dns.lookup;
const ZONE = '.matrix.test';

function lookup(hostname: string, ...rest: unknown[]): unknown {
  if (!hostname.endsWith(ZONE)) {
    return (original as (...args: unknown[]) => unknown)(hostname, ...rest);
  }
  const callback = rest.at(-1) as (error: Error | null, ...result: unknown[]) => void;
  const options = rest.length > 1 ? (rest[0] as { all?: boolean }) : {};
  const hosts = JSON.parse(readFileSync(process.env.OUTAGE_HOSTS ?? '', 'utf8'));
  const address: string | undefined = hosts[hostname];
  setImmediate(() => {
    if (address === undefined) {
      const error = new Error(`getaddrinfo ENOTFOUND ${hostname}`);
      callback(Object.assign(error, { code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname }));
    } else if (options?.all) callback(null, [{ address, family: 4 }]);
    else callback(null, address, 4);
  });
  return {};
}

dns.lookup = lookup as typeof dns.lookup;
