/**
 * The blocking connections: one for each Worker, made when it first waits, ended with their
 * generation or when a read on them is overdue.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Generation } from './generation.ts';

/** Of a peer that accepted and said nothing, see `endSilentHandshakes`. */
const SILENT_HANDSHAKE = /^connected, but no answer/;

/** Accepted or not: whether it is the server is told by the command connection. */
function silent(code: 'EBLOCKED' | 'ETIMEDOUT'): Error {
  return Object.assign(new Error('no answer to a blocking connection'), { code });
}

export class BlockingClients {
  readonly #connect: () => Redis | Cluster;
  readonly #timeoutMs: number;
  readonly #onFailure: (error: unknown, generation: Generation) => void;
  /** Clients that we ended ourselves: their close is no failure. */
  readonly #ended = new WeakSet<Redis | Cluster>();
  /** By owner: a client lives with one generation only. */
  readonly #clients = new WeakMap<
    object,
    { generation: Generation; client: Promise<Redis | Cluster> }
  >();

  constructor(
    connect: () => Redis | Cluster,
    timeoutMs: number,
    onFailure: (error: unknown, generation: Generation) => void,
  ) {
    this.#connect = connect;
    this.#timeoutMs = timeoutMs;
    this.#onFailure = onFailure;
  }

  /** @throws the error of the connection, or of the deadline */
  async of(generation: Generation, owner: object): Promise<Redis | Cluster> {
    const present = this.#clients.get(owner);
    if (present?.generation === generation) return await present.client;
    const client = this.#open(generation);
    this.#clients.set(owner, { generation, client });
    try {
      return await client;
    } catch (error) {
      if (this.#clients.get(owner)?.client === client) this.#clients.delete(owner);
      throw error;
    }
  }

  drop(generation: Generation, owner: object): void {
    const present = this.#clients.get(owner);
    if (present?.generation !== generation) return;
    this.#clients.delete(owner);
    present.client.then(
      (client) => {
        this.#ended.add(client);
        generation.dropBlocking(client);
      },
      () => undefined,
    );
  }

  async #open(generation: Generation): Promise<Redis | Cluster> {
    const client = this.#connect();
    generation.addBlocking(client);
    let reason: unknown;
    const remember = (error: unknown) => {
      reason = error;
    };
    client.on('error', remember);
    let timer: NodeJS.Timeout | undefined;
    const connecting = client.connect();
    connecting.catch(() => undefined);
    try {
      await Promise.race([
        connecting,
        new Promise<never>((_resolve, reject) => {
          timer = setTimeout(
            () => reject(silent(client.status === 'connect' ? 'EBLOCKED' : 'ETIMEDOUT')),
            this.#timeoutMs,
          );
        }),
      ]);
    } catch (error) {
      generation.dropBlocking(client);
      // ioredis says why in an event, and then only that the connection is closed.
      const isSilent = reason instanceof Error && SILENT_HANDSHAKE.test(reason.message);
      throw isSilent ? silent('EBLOCKED') : (reason ?? error);
    } finally {
      clearTimeout(timer);
      client.off('error', remember);
    }
    client.on('close', () => {
      if (!this.#ended.has(client)) {
        this.#onFailure(new Error('Connection is closed.'), generation);
      }
    });
    return client;
  }
}
