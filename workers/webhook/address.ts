/**
 * Connections to public addresses only. A host name may resolve to anything, and to something else a
 * moment later: so the address that is really connected to is what counts. No redirect is followed.
 */
import { type LookupAddress, lookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { Agent, buildConnector } from 'undici';

/** The address may not be connected to; trying again does not help. */
export class AddressRefused extends Error {
  readonly code = 'EADDRREFUSED';
}

/** Whether an address is of the public internet: not loopback, private, link-local, reserved … */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  let parsed = ipaddr.parse(address);
  if (parsed instanceof ipaddr.IPv6 && parsed.isIPv4MappedAddress()) {
    parsed = parsed.toIPv4Address();
  }
  return parsed.range() === 'unicast';
}

/** An undici agent that connects to public addresses, or to all when that is allowed. */
export function createAgent(allowPrivate: boolean, connectMs: number): Agent {
  const isAllowed = (address: string) => allowPrivate || isPublic(address);
  const connector = buildConnector({ timeout: connectMs, lookup: publicLookup(isAllowed) });
  return new Agent({
    pipelining: 0,
    connect(options, callback) {
      const literal = options.hostname.replace(/^\[|\]$/g, '');
      if (isIP(literal) && !isAllowed(literal)) {
        callback(refused(literal), null);
        return;
      }
      connector(options, (error, socket) => {
        if (error) return callback(error, null);
        if (isAllowed(socket.remoteAddress ?? '')) return callback(null, socket);
        socket.destroy();
        callback(refused(socket.remoteAddress ?? 'unknown'), null);
      });
    },
  });
}

/** Resolves to allowed addresses only, so that no other is even asked for a connection. */
function publicLookup(isAllowed: (address: string) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error) return callback(error, '', 0);
      const allowed = addresses.filter(({ address }) => isAllowed(address));
      const first = allowed[0];
      if (!first) return callback(refused(`${hostname} (${addresses[0]?.address})`), '', 0);
      if (options.all) callback(null, allowed as never);
      else callback(null, first.address, first.family);
    });
  };
}

function refused(address: string): AddressRefused {
  return new AddressRefused(
    `${address} is not a public address; set WEBHOOK_ALLOW_PRIVATE=true if that is meant`,
  );
}
