/**
 * The connections of an HTTP server, and what each has under way: a server that is full gives the place of one
 * that is silent to the next, and a stop waits for answers alone. Whose they are does not matter: behind a proxy
 * all callers have one address.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { type Instant, systemClock } from '../time.ts';

/** When a server stops, what is under way of a request has so long to come to its end, ms. */
export const INCOMPLETE_MS = 1500;
/** Kept for connections to close by themselves before the deadline cuts them, ms. */
const CUT_BEFORE_MS = 100;

interface Connection {
  /** A request of it was answered, or is under way. */
  hasAsked: boolean;
  underWay: Set<IncomingMessage>;
}

/** What a connection is; the less, the sooner it gives way to another. */
const SILENT = 0;
const IDLE = 1;
const INCOMPLETE = 2;
const WHOLE = 3;

export class Connections {
  readonly #server: Server;
  readonly #max: number;
  /** Oldest first. */
  readonly #open = new Map<Socket, Connection>();
  #isStopping = false;

  /** `max`: connections at a time. */
  constructor(server: Server, max: number) {
    this.#server = server;
    this.#max = max;
    server.on('connection', (socket) => this.#opened(socket));
    server.on('request', (request, response) => {
      const connection = this.#open.get(request.socket);
      if (connection === undefined) return;
      connection.hasAsked = true;
      connection.underWay.add(request);
      response.once('close', () => {
        connection.underWay.delete(request);
        // Its head may have promised that another request is taken.
        if (this.#isStopping && connection.underWay.size === 0) request.socket.destroySoon();
      });
    });
  }

  /**
   * For a server that takes no more connections: those without a request end now, those whose request does not
   * come to its end after INCOMPLETE_MS, and all just before `deadline`. The function that is returned ends this.
   */
  drain(deadline: Instant): () => void {
    this.#isStopping = true;
    // Node counts a connection as idle only after its first request; one that never sent a byte
    // (a browser opens such ahead of time) would hold the stop up.
    for (const socket of this.#open.keys()) if (socket.bytesRead === 0) socket.destroy();
    const cancelIncomplete = systemClock.after(INCOMPLETE_MS, () => {
      for (const [socket, connection] of this.#open) {
        if (kindOf(connection) < WHOLE) socket.destroy();
      }
    });
    const cutInMs = deadline - systemClock.now() - CUT_BEFORE_MS;
    const cancelCut = systemClock.after(cutInMs, () => this.#server.closeAllConnections());
    return () => {
      cancelIncomplete();
      cancelCut();
    };
  }

  #opened(socket: Socket): void {
    if (this.#open.size >= this.#max && !this.#makeRoom()) {
      socket.destroy();
      return;
    }
    this.#open.set(socket, { hasAsked: false, underWay: new Set() });
    socket.once('close', () => this.#open.delete(socket));
  }

  /** @returns false: all wait for an answer */
  #makeRoom(): boolean {
    let least: Socket | undefined;
    let kind = WHOLE;
    for (const [socket, connection] of this.#open) {
      const of = kindOf(connection);
      if (of < kind) [least, kind] = [socket, of];
      if (kind === SILENT) break;
    }
    if (least === undefined) return false;
    this.#open.delete(least);
    least.destroy();
    return true;
  }
}

function kindOf({ hasAsked, underWay }: Connection): number {
  if (underWay.size === 0) return hasAsked ? IDLE : SILENT;
  return [...underWay].some(({ complete }) => complete) ? WHOLE : INCOMPLETE;
}
