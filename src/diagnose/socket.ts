/**
 * Bare sockets for the lowest layers: connect, shake hands in TLS, and read what the other side says
 * first. Each step has a deadline and destroys its socket when it does not end well.
 */
import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls';
import type { Endpoint } from './target.ts';

/** More of an unknown speaker's greeting than this says no more. */
const REPLY_BYTES_MAX = 512;

export class DeadlineError extends Error {
  readonly code = 'ETIMEDOUT';
  constructor(step: string, timeoutMs: number) {
    super(`no answer to ${step} within ${timeoutMs} ms`);
  }
}

/** @throws the socket's error, or {@link DeadlineError} */
export async function dial(endpoint: Endpoint, timeoutMs: number): Promise<Socket> {
  const { host, port, path } = endpoint;
  const socket = path === undefined ? connect({ host, port }) : connect({ path });
  return await settled(socket, 'connect', 'connect', timeoutMs);
}

/**
 * The handshake on an open socket; certificates are judged by the caller, so that it can look at a bad
 * one too.
 * @throws the error of OpenSSL, or {@link DeadlineError}
 */
export async function shakeHands(
  socket: Socket,
  host: string,
  options: ConnectionOptions,
  timeoutMs: number,
): Promise<TLSSocket> {
  const secure = tlsConnect({ ...plainCopy(options), host, socket, rejectUnauthorized: false });
  return await settled(secure, 'secureConnect', 'the TLS handshake', timeoutMs);
}

/** The files of the options are getters: read now. */
function plainCopy(options: ConnectionOptions): ConnectionOptions {
  return { ...options };
}

/** What comes back after `request`: up to its first line break, the end, or the deadline. */
export function exchange(socket: Socket, request: string, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let heard = Buffer.alloc(0);
    const end = (act: () => void): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => undefined);
      socket.destroy();
      act();
    };
    const timer = setTimeout(() => end(() => resolve(heard)), timeoutMs);
    socket.on('data', (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk]);
      if (heard.includes('\n') || heard.length >= REPLY_BYTES_MAX || heard[0] === 0x15) {
        end(() => resolve(heard.subarray(0, REPLY_BYTES_MAX)));
      }
    });
    socket.on('error', (error) => end(() => reject(error)));
    socket.on('close', () => end(() => (heard.length > 0 ? resolve(heard) : reject(closed()))));
    socket.write(request);
  });
}

function closed(): Error {
  return Object.assign(new Error('closed the connection without a word'), { code: 'ECONNRESET' });
}

function settled<S extends Socket>(
  socket: S,
  event: string,
  step: string,
  timeoutMs: number,
): Promise<S> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      clearTimeout(timer);
      // Later errors of a socket that nobody needs any more.
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const onClose = () => failed(closed());
    const timer = setTimeout(() => failed(new DeadlineError(step, timeoutMs)), timeoutMs);
    socket.once('error', failed);
    socket.once('close', onClose);
    socket.once(event, () => {
      clearTimeout(timer);
      socket.off('error', failed);
      socket.off('close', onClose);
      socket.on('error', () => undefined);
      resolve(socket);
    });
  });
}
