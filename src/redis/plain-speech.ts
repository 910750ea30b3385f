/**
 * A Redis that is spoken to in TLS and has no TLS waits for the end of a line: from outside it looks
 * frozen. Asked in its own plain words it answers at once.
 */
import { connect, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Cluster, Redis } from 'ioredis';

/** Longer than a handshake takes on a healthy way, ms. */
const HANDSHAKE_MS = 1000;
/** For the answer to a PING, ms. */
const ANSWER_MS = 1000;

/**
 * Watches a client that connects. Rejects when its handshake is not answered but a plain PING is; else
 * never settles. `end` frees everything.
 */
export function refusesTls(client: Redis | Cluster): { found: Promise<never>; end(): void } {
  let socket: Socket | undefined;
  const { promise: found, reject } = Promise.withResolvers<never>();
  found.catch(() => undefined);
  const timer = setTimeout(() => {
    const { stream } = client as { stream?: unknown };
    if (!(stream instanceof TLSSocket) || stream.connecting || stream.bytesRead > 0) return;
    const { remoteAddress: host, remotePort: port } = stream;
    if (host === undefined || port === undefined) return;
    socket = connect({ host, port }, () => socket?.write('PING\r\n'));
    socket.setTimeout(ANSWER_MS, () => socket?.destroy());
    socket.on('error', () => undefined);
    socket.once('data', () => {
      const error = new Error('the port answers without TLS, and was spoken to in TLS');
      reject(Object.assign(error, { code: 'EPROTO' }));
    });
  }, HANDSHAKE_MS);
  return {
    found,
    end: () => {
      clearTimeout(timer);
      socket?.destroy();
    },
  };
}
