/**
 * Two mistakes that do not say what they are. A Redis that is spoken to in TLS and has no TLS waits for
 * the end of a line: it looks frozen, and answers at once when it is asked in plain words. One that wants
 * TLS and is spoken to in plain words hangs up: it looks refused, and answers a handshake.
 */
import { connect, type Socket } from 'node:net';
import { TLSSocket, connect as tlsConnect } from 'node:tls';
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

/**
 * Watches a client that connects in plain words. `found` resolves with an error when the server has taken
 * the connection, hung up without a word, and answers a handshake; else with undefined.
 */
export function wantsTls(client: Redis | Cluster): { found(): Promise<Error | undefined> } {
  let plain: { host: string; port: number; stream: Socket } | undefined;
  client.once('connect', () => {
    const { stream } = client as { stream?: unknown };
    if (stream instanceof TLSSocket || !isSocket(stream)) return;
    const { remoteAddress: host, remotePort: port } = stream;
    if (host !== undefined && port !== undefined) plain = { host, port, stream };
  });
  return {
    found: async () => {
      // Bytes that came were an answer, or an alert that the parser has named.
      if (!plain || plain.stream.bytesRead > 0 || !(await shakesHands(plain))) return undefined;
      const error = new Error('the port speaks TLS, and was spoken to without');
      return Object.assign(error, { code: 'EPROTO' });
    },
  };
}

function isSocket(stream: unknown): stream is Socket {
  return typeof (stream as Socket | undefined)?.remotePort === 'number';
}

/** Whoever it is: nothing is sent but the handshake. */
function shakesHands({ host, port }: { host: string; port: number }): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = tlsConnect({ host, port, rejectUnauthorized: false }, () => resolve(true));
  const timer = setTimeout(() => resolve(false), HANDSHAKE_MS);
  // A server that wants a certificate of ours says so in TLS.
  socket.on('error', (error) => resolve(/alert/i.test(error.message)));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}
